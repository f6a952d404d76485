"""A resumed run that ends as the uninterrupted one does, to the last bit.

Lightning's checkpoints lack the state of random numbers, and their loops mix up what is done with what is about to be
done, depending on the hook that saves. The order of rows is the data module's, and running metrics are the model's.
"""

from collections.abc import Mapping
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from project.models.supervised import Supervised
from project.runtime.distributed import gather

KEY = "exact_resume"


class ExactResume(Callback):
    """Keeps in every checkpoint what Lightning leaves out, and takes it over when a run is resumed.

    Args:
        optimizer_changes: Arguments of the optimizer that hold from now on, in the place of those in the checkpoint.
    """

    watches_items = True

    def __init__(self, optimizer_changes: Mapping[str, Any]) -> None:
        self.optimizer_changes = optimizer_changes
        self._saved: dict[str, Any] = {}

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Add random states, by process, and metrics; and say of each loop what is done, and nothing else."""
        metrics = {name: value.detach().cpu().clone() for name, value in trainer.callback_metrics.items()}
        device = trainer.strategy.root_device
        loops = checkpoint["loops"]["fit_loop"]
        epochs, batches = loops["epoch_progress"], loops["epoch_loop.batch_progress"]
        within_epoch = epochs["current"]["started"] > epochs["current"]["processed"]
        states = gather(random_states(device))
        checkpoint[KEY] = {
            "random_states": states if within_epoch else [],
            "metrics": metrics,
            "accumulate_grad_batches": trainer.accumulate_grad_batches if within_epoch else None,
        }
        for counts in (epochs["total"], epochs["current"]):
            counts["completed"] = counts["processed"]
            if not within_epoch:
                counts["ready"] = counts["started"] = counts["processed"]
        if not within_epoch:
            batches["current"] = dict.fromkeys(batches["current"], 0)
        if batches["current"]["ready"] > batches["current"]["processed"] or not within_epoch:
            batches["is_last_batch"] = False  # it says so of the batch that is about to come
        for counts in (batches["total"], batches["current"]):
            counts["ready"] = counts["started"] = counts["completed"] = counts["processed"]

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Keep what was saved until training starts."""
        self._saved = checkpoint.get(KEY, {})

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take over the metrics of the last validation, which checkpoints are chosen by, and what may have changed."""
        trainer.callback_metrics.update(self._saved.get("metrics", {}))
        for name, value in self.optimizer_changes.items():
            for group in trainer.optimizers[0].param_groups:
                group[name] = value
        if "lr" in self.optimizer_changes and isinstance(pl_module, Supervised):
            pl_module.lr = self.optimizer_changes["lr"]  # for schedules, too

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take over the metrics of a run that had nothing left to train."""
        trainer.callback_metrics.update(self._saved.get("metrics", {}))

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Take over random states and the count of steps, before the first batch."""
        if not self._saved:
            return
        if self._saved["accumulate_grad_batches"]:  # set at the start of the epoch, which was not started again
            trainer.accumulate_grad_batches = self._saved["accumulate_grad_batches"]
        states = self._saved["random_states"]
        if len(states) == trainer.world_size:  # and between epochs `EpochSeed` sows anew
            set_random_states(states[trainer.global_rank], trainer.strategy.root_device)
        # Where loggers place points; Lightning counts a step too many after some hooks, and one too few after others.
        trainer.fit_loop.epoch_loop._batches_that_stepped = trainer.global_step
        trainer.fit_loop._restarting = False  # else it would leave out ReduceLROnPlateau at the end of the epoch
        self._saved = {}


def random_states(device: torch.device) -> dict[str, Tensor]:
    """The states of torch's generators that training draws from."""
    states = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        states["cuda"] = torch.cuda.get_rng_state(device)
    return states


def set_random_states(states: dict[str, Tensor], device: torch.device) -> None:
    """Go on with the numbers that would have come next."""
    torch.set_rng_state(states["cpu"])
    if device.type == "cuda" and "cuda" in states:
        torch.cuda.set_rng_state(states["cuda"], device)
