"""Keep the best checkpoint of a run, also after its folder has been moved."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor

from project.models.supervised import Supervised
from project.runs.checkpoint import read_checkpoint
from project.runs.folder import BEST, EPOCH_BEST
from project.runtime.errors import UserError


class BestCheckpoint(ModelCheckpoint):
    """Write `best.ckpt` at the end of an epoch whose monitored metric is the lowest so far.

    Lightning drops the best score when a run is resumed at another path, and then overwrites the best checkpoint with
    any other. This callback keeps the score as long as the file is in the run's folder.

    If a limit ends training within an epoch, `keep_last_steps` compares the weights with the best epoch. If they are
    better, the best epoch is kept as `best-epoch.ckpt`, from which a resumed run continues as if it had not been
    interrupted.

    Args:
        monitor: The metric of this project's models; lower is better. For other models it is their first metric with
            `val` and `loss` in its name, or else with `loss`; without any, the last epoch is the best.
    """

    allows_grouped_steps = True

    def __init__(self, monitor: str) -> None:
        super().__init__(filename="best", monitor=monitor, save_on_train_epoch_end=True, enable_version_counter=False)
        self._resumed_step = -1
        self._key = super().state_key

    @property
    def state_key(self) -> str:
        """The name of the state in checkpoints, whichever metric is chosen."""
        return self._key

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Choose the metric of a model from outside the project among those that it has logged, and save."""
        if trainer.enable_validation and (trainer.current_epoch + 1) % (trainer.check_val_every_n_epoch or 1):
            return  # not validated: the last score is that of other weights
        metrics = trainer.callback_metrics
        if not isinstance(pl_module, Supervised) and self.monitor is not None and self.monitor not in metrics:
            losses = [name for name in metrics if "loss" in name and not name.endswith("_step")]
            self.monitor = next(iter(sorted(losses, key=lambda name: "val" not in name)), None)
        super().on_train_epoch_end(trainer, pl_module)

    def keep_last_steps(self, trainer: Trainer, metrics: Mapping[str, Tensor]) -> bool:
        """Write `best.ckpt` with the weights at the end of training if their metrics are better than the best epoch's.

        Args:
            trainer: The trainer, after training.
            metrics: The metrics of a validation with its weights.

        Returns:
            Whether they could be compared, that is, whether `metrics` has the monitored metric.
        """
        score = metrics.get(self.monitor or "")
        if score is None or self.dirpath is None:
            return False
        if self.best_model_score is None or score < self.best_model_score:
            best = Path(self.dirpath) / BEST
            if trainer.is_global_zero and best.exists():
                best.replace(best.with_name(EPOCH_BEST))
            trainer.save_checkpoint(best)
            self.best_model_path, self.best_model_score = str(best), score
        return True

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Remember the step from which the run is resumed."""
        self._resumed_step = checkpoint["global_step"]

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the best score if its file is in this run's folder."""
        self.monitor = state_dict["monitor"]
        epoch_best = Path(str(self.dirpath)) / EPOCH_BEST
        if epoch_best.is_file():
            epoch_best.replace(epoch_best.with_name(BEST))
        best = Path(str(self.dirpath)) / Path(state_dict["best_model_path"]).name
        if not best.is_file():
            return
        try:
            if read_checkpoint(best)["global_step"] > self._resumed_step:
                return  # the file was saved after the step from which the run is resumed
        except UserError as error:
            rank_zero_warn(f"skipped: {error}")
            return
        moved: dict[str, Any] = {"dirpath": self.dirpath, "best_model_path": str(best), "last_model_path": ""}
        moved |= {"kth_best_model_path": str(best), "best_k_models": {str(best): state_dict["best_model_score"]}}
        super().load_state_dict(state_dict | moved)
