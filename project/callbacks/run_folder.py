"""Create the folder of a run, with its configuration and checkpoints, for any choice of loggers."""

import errno
import os
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger

from project.callbacks.best_checkpoint import BestCheckpoint
from project.callbacks.last_checkpoint import LastCheckpoint
from project.models.supervised import Supervised
from project.runs.checkpoint import CONFIG_KEY, DATA_KEY, FOLDER_KEY, data_facts
from project.runs.checkpoint_io import sweep
from project.runs.folder import CHECKPOINTS, LOCK, METRICS, USERS, next_version, remove_own_files
from project.runs.resume import refuse_other_data
from project.runtime.errors import UserError
from project.runtime.files import atomic_write


class RunFolder(Callback):
    """Keep config.yaml and the checkpoints of a run in one folder, and measure the time of the fit.

    The folder is the logger's if it has one per run (TensorBoard, CSV), otherwise the next `lightning_logs/version_N`.
    The folder of a run that fails before its first checkpoint is removed. The user's own
    `ModelCheckpoint` callbacks save to a subfolder, so that they never overwrite the run's files.

    Args:
        config: The run's configuration, as YAML; also stored in every checkpoint.
        allowed: Names of the settings that may differ from those of the resumed run.
    """

    def __init__(self, config: str, allowed: Sequence[str] = ()) -> None:
        self.config, self.allowed = config, allowed
        self._written = ""
        self._lock: FileLock | None = None
        self.path: Path | None = None  # the folder, from the start of training
        self.stage_metrics: dict[str, float] = {}  # of the run that a stage started from, for metrics.json
        self.seconds, self.rows = 0.0, 0  # duration of the fit, and training rows that this process computed
        self._started = 0.0

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Choose and lock the folder, and write config.yaml into it."""
        if stage != "fit":
            return
        root = Path(trainer.default_root_dir) / "lightning_logs"
        has_folder = isinstance(trainer.logger, TensorBoardLogger | CSVLogger)
        path = Path(str(trainer.log_dir)) if has_folder else trainer.strategy.broadcast(next_version(root))
        if trainer.is_global_zero:
            path.mkdir(parents=True, exist_ok=True)
            self._lock_folder(path)
            self.path = path
            self._check_space(path, pl_module)
            self._write_config(path)
        self.path = path
        for checkpoint in trainer.checkpoint_callbacks:
            if isinstance(checkpoint, ModelCheckpoint):
                _choose_folder(checkpoint, path / CHECKPOINTS)
        for callback in trainer.callbacks if trainer.checkpoint_callbacks else ():  # type: ignore[attr-defined]
            if isinstance(callback, LastCheckpoint):
                callback.folder = path / CHECKPOINTS

    def _lock_folder(self, path: Path) -> None:
        """Lock the folder, and remove unfinished files that a killed process has left in it."""
        lock = FileLock(path / LOCK, timeout=0)
        try:
            lock.acquire()
        except Timeout:
            raise UserError(f"{path}: locked by another process that trains this run; wait or stop it") from None
        self._lock = lock
        sweep(path / "checkpoints")

    def _check_space(self, path: Path, pl_module: LightningModule) -> None:
        """Raise a UserError unless the disk has room for three checkpoints."""
        weights = sum(value.nbytes for value in pl_module.state_dict().values())
        needed = 3 * (3 * weights + 2**18)  # the weights, Adam's two moments, and 256 KiB for the rest
        free = shutil.disk_usage(path).free
        if free < needed:
            raise UserError(
                f"{path}: {free / 2**20:.1f} MiB are free, but three checkpoints need {needed / 2**20:.1f} MiB; "
                "free some space, or set --trainer.default_root_dir to a folder on another disk"
            ) from OSError(errno.ENOSPC, "No space left on device")

    def release(self) -> None:
        """Unlock the folder."""
        if self._lock is not None:
            self._lock.release()

    def state_dict(self) -> dict[str, Any]:
        """Return the time that the run has been trained so far, and the metrics of its stage."""
        seconds = self.seconds + (time.perf_counter() - self._started if self._started else 0.0)
        return {"seconds": seconds, "stage_metrics": self.stage_metrics}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the time that the run was trained before, and the metrics of its stage."""
        self.seconds, self.stage_metrics = state_dict["seconds"], state_dict.get("stage_metrics", {})

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Refuse to resume with other data."""
        refuse_other_data(checkpoint[DATA_KEY], trainer.datamodule, self.allowed)  # type: ignore[attr-defined]

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write config.yaml again if a finder has changed the settings, and start the clock."""
        if self._lock is not None and self.path is not None and self.config != self._written:
            self._write_config(self.path)
        self._started = time.perf_counter()

    def _write_config(self, path: Path) -> None:
        with atomic_write(path / "config.yaml") as temporary:
            temporary.write_text(self.config, encoding="utf-8")
        self._written = self.config

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stop the clock, and read the number of rows."""
        self._stop_clock(pl_module)

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Add the configuration and a description of the data, so that the checkpoint can be used by itself.

        The metrics of a resumed run are removed, because they are not those of the new checkpoint.
        """
        if self._lock is not None and self.path is not None:
            (self.path / METRICS).unlink(missing_ok=True)
        data = trainer.datamodule  # type: ignore[attr-defined]
        checkpoint[CONFIG_KEY] = self.config
        checkpoint[FOLDER_KEY] = None if self.path is None else os.path.realpath(self.path)
        checkpoint[DATA_KEY] = data_facts(data)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Stop the clock; remove the folder if it has no checkpoint."""
        self._stop_clock(pl_module)
        self.discard(trainer)

    def _stop_clock(self, pl_module: LightningModule) -> None:
        if self._started:
            self.seconds += time.perf_counter() - self._started
            self.rows = pl_module.running.rows if isinstance(pl_module, Supervised) else 0
            self._started = 0.0

    def discard(self, trainer: Trainer) -> None:
        """Remove the run's files, and the folder if it contains nothing else, unless there is a checkpoint."""
        if self.path is None or self._lock is None:
            return
        if not any(self.path.glob("checkpoints/*.ckpt")):
            for logger in trainer.loggers:
                logger.finalize("failed")
            self.release()
            remove_own_files(self.path)


def _choose_folder(callback: ModelCheckpoint, own: Path) -> None:
    """Set the folder of a callback that saves checkpoints; `own` is the one of the run's own checkpoints."""
    if isinstance(callback, BestCheckpoint):
        callback.dirpath = str(own)
    elif callback.dirpath is None:
        callback.dirpath = str(own / USERS)
    elif Path(callback.dirpath).resolve() == own.resolve():
        flag, name = "--trainer.callbacks.dirpath", type(callback).__name__
        raise UserError(
            f"{flag} {callback.dirpath}: {name} must not write among the run's own checkpoints; use another"
        )
