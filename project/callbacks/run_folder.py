"""The folder that a run leaves, whatever the loggers: its configuration, its checkpoints, its metrics."""

import shutil
import time
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger

from project.run import CONFIG_KEY, DATA_ATTRIBUTES, DATA_KEY


class RunFolder(Callback):
    """Keeps config.yaml and the checkpoints of a run in one folder, and times the fit.

    The folder is the logger's where that has one a run (TensorBoard, CSV), else the next `lightning_logs/version_N`.
    A run that fails before its first checkpoint leaves no folder behind.

    Args:
        config: The run's configuration, as YAML; also stored in every checkpoint.

    Attributes:
        path: The folder; None before training.
        seconds: Wall time of the fit.
        rows: Training rows that went through the net, counted on this process.
    """

    def __init__(self, config: str) -> None:
        self.config = config
        self.path: Path | None = None
        self.seconds, self.rows = 0.0, 0
        self._started, self._existed = 0.0, False

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Choose the folder, and write config.yaml into it."""
        if stage != "fit":
            return
        root = Path(trainer.default_root_dir) / "lightning_logs"
        own = isinstance(trainer.logger, TensorBoardLogger | CSVLogger)
        path = Path(str(trainer.log_dir)) if own else trainer.strategy.broadcast(next_version(root))
        if trainer.is_global_zero:
            self._existed = (path / "checkpoints").exists()
            path.mkdir(parents=True, exist_ok=True)
            (path / "config.yaml").write_text(self.config)
        self.path = path
        for checkpoint in trainer.checkpoint_callbacks:
            if isinstance(checkpoint, ModelCheckpoint) and checkpoint.dirpath is None:
                checkpoint.dirpath = str(path / "checkpoints")

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock."""
        self._started = time.perf_counter()

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stop the clock, and count rows."""
        self.seconds = time.perf_counter() - self._started
        self.rows = getattr(pl_module, "rows_trained", 0)

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Store in the checkpoint what is needed to use it without its folder and without its data."""
        data = trainer.datamodule  # type: ignore[attr-defined]
        checkpoint[CONFIG_KEY] = self.config
        checkpoint[DATA_KEY] = {name: getattr(data, name, None) for name in DATA_ATTRIBUTES}

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Remove the folder of a run that has nothing to show."""
        self.discard(trainer)

    def discard(self, trainer: Trainer) -> None:
        """Remove the folder unless it holds a checkpoint, or did before."""
        if self.path is None or self._existed or not trainer.is_global_zero:
            return
        if not any(self.path.glob("checkpoints/*.ckpt")):
            for logger in trainer.loggers:
                logger.finalize("failed")
            shutil.rmtree(self.path, ignore_errors=True)


def next_version(root: Path) -> Path:
    """The first unused `version_N` under a folder."""
    taken = [int(path.name[8:]) for path in root.glob("version_*") if path.name[8:].isdigit()]
    return root / f"version_{max(taken, default=-1) + 1}"
