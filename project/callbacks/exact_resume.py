"""Make the result of a resumed run identical, bit for bit, to that of an uninterrupted one.

Lightning's checkpoints lack random states, and the progress of its loops at the time of saving depends on the hook that
saves. The data module is responsible for the order of rows, the model for its running metrics.
"""

from collections.abc import Mapping
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import EarlyStopping
from lightning.pytorch.callbacks.early_stopping import EarlyStoppingReason
from lightning.pytorch.plugins import DoublePrecision
from torch import Tensor, nn

from project.models.optimization import set_learning_rate
from project.models.steps import TRACKS
from project.runtime.distributed import gather

KEY = "exact_resume"


class ExactResume(Callback):
    """Save and restore what Lightning's checkpoints lack, and change arguments of the optimizer in a resumed run.

    Args:
        optimizer_changes: Arguments of the optimizer that differ from those of the resumed run.
    """

    allows_grouped_steps = True

    def __init__(self, optimizer_changes: Mapping[str, Any]) -> None:
        self.optimizer_changes = optimizer_changes
        self._saved: dict[str, Any] = {}
        self._modes: dict[str, list[str]] | None = None  # before the last validation

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Convert the module to float64; Lightning does so after it has loaded the weights, then rounded to float32."""
        if isinstance(trainer.precision_plugin, DoublePrecision):
            pl_module.double()

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Add the random states of each process and the metrics; set the progress of the loops to finished steps."""
        loops = checkpoint["loops"]["fit_loop"]
        epochs, batches = loops["epoch_progress"], loops["epoch_loop.batch_progress"]
        within_epoch = epochs["current"]["started"] > epochs["current"]["processed"]
        states = gather(random_states(trainer.strategy.root_device))
        checkpoint[KEY] = {
            "random_states": states if within_epoch else [],
            "metrics": {name: value.detach().cpu().clone() for name, value in trainer.callback_metrics.items()},
            "accumulate_grad_batches": trainer.accumulate_grad_batches if within_epoch else None,
            # Within a validation, all modules are in evaluation mode.
            "modes": modes(pl_module) if pl_module.training else self._modes,
        }
        for counts in (epochs["total"], epochs["current"]):
            counts["completed"] = counts["processed"]
            if not within_epoch:
                counts["ready"] = counts["started"] = counts["processed"]
        if not within_epoch:
            batches["current"] = dict.fromkeys(batches["current"], 0)
        if batches["current"]["ready"] > batches["current"]["processed"] or not within_epoch:
            batches["is_last_batch"] = False  # Lightning has set it for the next batch already
        for counts in (batches["total"], batches["current"]):
            counts["ready"] = counts["started"] = counts["completed"] = counts["processed"]

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Keep the saved state until training starts; set the loops to the batch at which the data continues."""
        self._saved = checkpoint.get(KEY, {})
        batches = checkpoint["loops"]["fit_loop"]["epoch_loop.batch_progress"]["current"]
        items = getattr(trainer.datamodule, "resumed_items", None)  # type: ignore[attr-defined]
        if items is not None and batches["processed"]:
            batches.update(dict.fromkeys(batches, items))

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Restore the metrics of the last validation, by which checkpoints are chosen, and change the optimizer."""
        self._restore_metrics(trainer)
        trainer.should_stop |= any(map(has_stopped, trainer.callbacks))  # type: ignore[attr-defined]
        for group in trainer.optimizers[0].param_groups if self.optimizer_changes else ():
            group.update(self.optimizer_changes)
        if "lr" in self.optimizer_changes:
            set_learning_rate(trainer, self.optimizer_changes["lr"])

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Restore the metrics of a run that had no epochs left to train."""
        self._restore_metrics(trainer)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Restore modes between two epochs, before other callbacks change them for the next epoch."""
        set_modes(pl_module, self._saved.pop("modes", None))

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Restore modes and random states before the first batch."""
        set_modes(pl_module, self._saved.pop("modes", None))
        if not self._saved:
            return
        if self._saved["accumulate_grad_batches"]:  # GradientAccumulationScheduler sets it when an epoch starts
            trainer.accumulate_grad_batches = self._saved["accumulate_grad_batches"]
        states = self._saved["random_states"]
        if len(states) == trainer.world_size:  # there are none between epochs, where EpochSeed sets the seed
            set_random_states(states[trainer.global_rank], trainer.strategy.root_device)
        trainer.fit_loop.restarting = False  # otherwise ReduceLROnPlateau is skipped at the end of the epoch
        self._saved = {}

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Collect the modes before a validation changes them, and only then, because it takes time."""
        interval = trainer.val_check_batch
        is_last = batch_idx + 1 == trainer.num_training_batches
        if is_last or trainer.check_val_every_n_epoch is None or (interval and (batch_idx + 1) % interval == 0):
            self._modes = modes(pl_module)

    def _restore_metrics(self, trainer: Trainer) -> None:
        trainer.callback_metrics.update(self._saved.get("metrics", {}))


def modes(module: nn.Module) -> dict[str, list[str]]:
    """Return the names of the submodules in evaluation mode or without statistics, and of the frozen parameters."""
    return {
        "evaluating": [name for name, part in module.named_modules() if not part.training],
        "untracked": [name for name, part in module.named_modules() if not getattr(part, TRACKS, True)],
        "frozen": [name for name, parameter in module.named_parameters() if not parameter.requires_grad],
    }


def set_modes(module: nn.Module, saved: Mapping[str, list[str]] | None) -> None:
    """Restore what `modes` returned, if anything."""
    if saved is None:
        return
    for name, part in module.named_modules():
        part.training = name not in saved["evaluating"]
        if hasattr(part, TRACKS):  # Lightning's finetuning callbacks change it
            setattr(part, TRACKS, name not in saved["untracked"])
    for name, parameter in module.named_parameters():
        parameter.requires_grad = name not in saved["frozen"]


def has_stopped(callback: Callback) -> bool:
    """Whether a callback is an `EarlyStopping` that has decided to stop, perhaps before `min_epochs` have passed."""
    return isinstance(callback, EarlyStopping) and callback.stopping_reason != EarlyStoppingReason.NOT_STOPPED


def random_states(device: torch.device) -> dict[str, Tensor]:
    """Return the states of the generators that training draws from."""
    states = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        states["cuda"] = torch.cuda.get_rng_state(device)
    return states


def set_random_states(states: dict[str, Tensor], device: torch.device) -> None:
    """Restore what `random_states` returned."""
    torch.set_rng_state(states["cpu"])
    if device.type == "cuda" and "cuda" in states:
        torch.cuda.set_rng_state(states["cuda"], device)
