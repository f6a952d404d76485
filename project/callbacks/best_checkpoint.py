"""The best checkpoint, known as such also after its run has been moved."""

from pathlib import Path
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.utilities import rank_zero_warn

from project.runs.checkpoint import read_checkpoint
from project.runtime.errors import UserError


class BestCheckpoint(ModelCheckpoint):
    """One checkpoint file of a run, written at the end of an epoch and replaced by a better one.

    Lightning forgets the best score where a resumed run lies at another path than before, and then replaces the best
    checkpoint by any. Here the score goes with the file.

    Args:
        monitor: The metric whose lowest value is kept.
    """

    def __init__(self, monitor: str) -> None:
        super().__init__(filename="best", monitor=monitor, save_on_train_epoch_end=True, enable_version_counter=False)
        self._resumed_step = -1

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Note where the run is resumed."""
        self._resumed_step = checkpoint["global_step"]

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over the best score if its file lies in this run's folder."""
        best = Path(str(self.dirpath)) / Path(state_dict["best_model_path"]).name
        if not best.is_file():
            return
        try:
            if read_checkpoint(best)["global_step"] > self._resumed_step:
                return  # of steps that the resumed run has not taken
        except UserError as error:
            rank_zero_warn(f"passed over: {error}")
            return
        score = state_dict["best_model_score"]
        moved: dict[str, Any] = {"dirpath": self.dirpath, "best_model_path": str(best), "last_model_path": ""}
        moved |= {"kth_best_model_path": str(best), "best_k_models": {str(best): score}}
        super().load_state_dict(state_dict | moved)
