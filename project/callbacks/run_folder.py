"""The folder that a run leaves, whatever the loggers: its configuration, its checkpoints, its metrics."""

import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger

from project.callbacks.last_checkpoint import LastCheckpoint
from project.models.supervised import Supervised
from project.runs.checkpoint import CONFIG_KEY, DATA_ATTRIBUTES, DATA_KEY
from project.runs.checkpoint_io import sweep
from project.runs.folder import LOCK, next_version, remove_own_files
from project.runs.resume import refuse_other_data
from project.runtime.errors import UserError

# Of a checkpoint, beside weights: an optimizer's two moments, and what does not grow with the network.
MOMENTS, OTHER_BYTES = 2, 2**18


class RunFolder(Callback):
    """Keeps config.yaml and the checkpoints of a run in one folder, and times the fit.

    The folder is the logger's where that has one a run (TensorBoard, CSV), else the next `lightning_logs/version_N`.
    A run that fails before its first checkpoint leaves no folder behind.

    Args:
        config: The run's configuration, as YAML; also stored in every checkpoint.
        allowed: What may differ from the run that is resumed.

    Attributes:
        path: The folder; None before training.
        seconds: Wall time of the fit.
        rows: Training rows that went through the net, counted on this process.
    """

    def __init__(self, config: str, allowed: Sequence[str] = ()) -> None:
        self.config, self.allowed = config, allowed
        self._lock: FileLock | None = None
        self.path: Path | None = None
        self.seconds, self.rows = 0.0, 0
        self._started = 0.0

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Choose the folder, and write config.yaml into it."""
        if stage != "fit":
            return
        root = Path(trainer.default_root_dir) / "lightning_logs"
        own = isinstance(trainer.logger, TensorBoardLogger | CSVLogger)
        path = Path(str(trainer.log_dir)) if own else trainer.strategy.broadcast(next_version(root))
        if trainer.is_global_zero:
            path.mkdir(parents=True, exist_ok=True)
            self._claim(path)
            self.path = path
            self._check_space(path, pl_module)
            (path / "config.yaml").write_text(self.config)
        self.path = path
        for checkpoint in trainer.checkpoint_callbacks:
            if isinstance(checkpoint, ModelCheckpoint) and checkpoint.dirpath is None:
                checkpoint.dirpath = str(path / "checkpoints")
        for callback in trainer.callbacks if trainer.checkpoint_callbacks else ():  # type: ignore[attr-defined]
            if isinstance(callback, LastCheckpoint):
                callback.folder = path / "checkpoints"

    def _claim(self, path: Path) -> None:
        """Lock the folder, and remove what a killed process has left in it."""
        lock = FileLock(path / LOCK, timeout=0)
        try:
            lock.acquire()
        except Timeout:
            raise UserError(f"{path}: another process is training this run: wait for its end, or stop it") from None
        self._lock = lock
        sweep(path / "checkpoints")

    def _check_space(self, path: Path, pl_module: LightningModule) -> None:
        """Raise a UserError unless there is room for three checkpoints."""
        weights = sum(value.nbytes for value in pl_module.state_dict().values())
        needed = 3 * (weights * (1 + MOMENTS) + OTHER_BYTES)
        free = shutil.disk_usage(path).free
        if free < needed:
            raise UserError(
                f"{path}: {free / 2**20:.1f} MiB are free, and three checkpoints take {needed / 2**20:.1f}: make room, "
                "or give --trainer.default_root_dir a folder on another disk"
            )

    def release(self) -> None:
        """Unlock the folder."""
        if self._lock is not None:
            self._lock.release()

    def state_dict(self) -> dict[str, Any]:
        """How long the run has been trained so far."""
        return {"seconds": self.seconds + (time.perf_counter() - self._started if self._started else 0.0)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on with the clock."""
        self.seconds = state_dict["seconds"]

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Refuse to go on with other data."""
        refuse_other_data(checkpoint[DATA_KEY], trainer.datamodule, self.allowed)  # type: ignore[attr-defined]

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock."""
        self._started = time.perf_counter()

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stop the clock, and count rows."""
        self._stop_clock(pl_module)

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Store in the checkpoint what is needed to use it without its folder and without its data."""
        data = trainer.datamodule  # type: ignore[attr-defined]
        checkpoint[CONFIG_KEY] = self.config
        checkpoint[DATA_KEY] = {name: getattr(data, name, None) for name in DATA_ATTRIBUTES}

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Stop the clock; remove the folder of a run that has nothing to show."""
        self._stop_clock(pl_module)
        self.discard(trainer)

    def _stop_clock(self, pl_module: LightningModule) -> None:
        if self._started:
            self.seconds += time.perf_counter() - self._started
            self.rows = pl_module.running.rows if isinstance(pl_module, Supervised) else 0
            self._started = 0.0

    def discard(self, trainer: Trainer) -> None:
        """Remove the run's files, and its folder with them if it holds nothing else, unless there is a checkpoint."""
        if self.path is None or self._lock is None:
            return
        if not any(self.path.glob("checkpoints/*.ckpt")):
            for logger in trainer.loggers:
                logger.finalize("failed")
            self.release()
            remove_own_files(self.path)
