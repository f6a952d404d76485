"""The checkpoint to resume from, and stops that lose no step."""

import os
import shutil
import signal
import time
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import Timer

from project.runs.folder import LAST, PREVIOUS
from project.runtime.signals import SignalListener, Stopped

SAVE_SECONDS = 300


class LastCheckpoint(Callback):
    """Saves `last.ckpt` after each epoch, within long ones every five minutes, and where training is stopped.

    What is saved lies between two optimizer steps, with nothing left to do for what came before: not at the hooks named
    after an end, where validation, metrics and schedulers may still be to come. The file before is kept as
    `previous.ckpt`.

    Signals, a time limit and a limit of steps within an epoch end training by `Stopped`.

    Attributes:
        folder: Where the files lie; None where nothing is to be saved.
    """

    watches_items = True  # of several steps; a limit of steps has Lightning take single ones

    def __init__(self) -> None:
        self.folder: Path | None = None
        self.listener = SignalListener()
        self._saved_step, self._saved_at = -1, 0.0
        self._stop_after_validation = False

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Listen to signals."""
        self._saved_step, self._saved_at = trainer.global_step, time.monotonic()
        self.listener.start()
        if trainer.received_sigterm:
            self.listener.received = signal.SIGTERM

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save what the epoch before has left."""
        if trainer.global_step > self._saved_step:
            self.save(trainer)

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Stop where that is asked for; save now and then."""
        if batch_idx % trainer.accumulate_grad_batches:
            return  # half a step's gradients are in no checkpoint
        signum, due = self.listener.received, int(time.monotonic() - self._saved_at > SAVE_SECONDS)
        over = int(any(_is_over(callback) for callback in trainer.callbacks))  # type: ignore[attr-defined]
        if trainer.world_size > 1:
            signum, over, due = agree(trainer, signum, over, due)
        if signum or over:
            self.stop(trainer, signum)
        if due and trainer.global_step > self._saved_step:
            self.save(trainer)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Stop at the last step asked for, unless it ends an epoch."""
        loop = trainer.fit_loop.epoch_loop
        if not 0 <= trainer.max_steps <= trainer.global_step or loop.batch_progress.is_last_batch:
            return
        fetcher = trainer.fit_loop._data_fetcher
        assert fetcher is not None
        self._stop_after_validation = loop._should_check_val_fx(fetcher)
        if not self._stop_after_validation:
            self.stop(trainer, 0)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stop if the validation was all that was left to do."""
        if self._stop_after_validation:
            self.stop(trainer, 0)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save what training has come to."""
        self.listener.stop()
        if trainer.global_step > self._saved_step:
            self.save(trainer)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Leave signals alone."""
        self.listener.stop()

    def stop(self, trainer: Trainer, signum: int) -> None:
        """Save, and leave training."""
        if trainer.global_step > self._saved_step:
            self.save(trainer)
        trainer.fit_loop.epoch_loop._batches_that_stepped = trainer.global_step  # where test metrics are placed
        raise Stopped(signum)

    def save(self, trainer: Trainer) -> None:
        """Write `last.ckpt`, and keep the one before."""
        if self.folder is None:
            return
        for logger in trainer.loggers:  # a point that is logged must not be lost to a kill that this save survives
            getattr(getattr(logger, "experiment", None), "flush", logger.save)()
        path = self.folder / LAST
        if trainer.is_global_zero and path.exists():
            twin = path.with_name(f"{PREVIOUS}.link")
            twin.unlink(missing_ok=True)
            try:
                os.link(path, twin)
            except OSError:  # not every file system has links
                shutil.copyfile(path, twin)
            twin.replace(path.with_name(PREVIOUS))
        trainer.save_checkpoint(path)
        self._saved_step, self._saved_at = trainer.global_step, time.monotonic()


def agree(trainer: Trainer, *values: int) -> list[int]:
    """The largest of each value over all processes."""
    largest = torch.tensor(values, device=trainer.strategy.root_device)
    dist.all_reduce(largest, dist.ReduceOp.MAX)
    return largest.tolist()


def _is_over(callback: Callback) -> bool:
    remaining = callback.time_remaining() if isinstance(callback, Timer) else None
    return remaining is not None and remaining <= 0
