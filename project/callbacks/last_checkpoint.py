"""Write the checkpoint to resume from, and stop training without losing a step."""

import os
import shutil
import signal
import time
from pathlib import Path
from typing import Any, cast

import torch
import torch.distributed as dist
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import Timer

from project.runs.folder import LAST, PREVIOUS
from project.runtime.signals import SignalListener, Stopped

SAVE_SECONDS = 300


class LastCheckpoint(Callback):
    """Save `last.ckpt` after each epoch, every five minutes within an epoch, and when training is stopped.

    Checkpoints are saved at the start of an epoch or batch, between two optimizer steps: the `…_end` hooks may run
    before validation, metrics and schedulers have finished. The previous file is kept as `previous.ckpt`.

    A signal, a time limit and a step limit within an epoch end training by raising `Stopped`.

    Args:
        max_steps: Number of optimizer steps after which training stops; -1 for no limit. Lightning's own limit would
            end the epoch as if it were complete.
    """

    def __init__(self, max_steps: int = -1) -> None:
        self.max_steps = max_steps
        self.folder: Path | None = None  # set by RunFolder; None saves nothing
        self.listener = SignalListener()
        self._saved_step, self._saved_at = -1, 0.0

    @property
    def allows_grouped_steps(self) -> bool:
        """Whether a `training_step` may take several optimizer steps: only without a limit that could fall between."""
        return self.max_steps == -1

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Reset the clock."""
        self._saved_step, self._saved_at = trainer.global_step, time.monotonic()

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Listen for signals from the first epoch on; save the state at the end of the previous epoch."""
        # Until then, a signal ends the process at once: other hooks may take long, and no step is lost.
        if not self.listener.is_active:
            self.listener.start()
            if trainer.received_sigterm:
                self.listener.received = signal.SIGTERM
        self.save(trainer)

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Stop after a signal or at a limit; save if the last checkpoint is too old."""
        if batch_idx % trainer.accumulate_grad_batches:
            return  # checkpoints do not contain accumulated gradients
        signum, due = self.listener.received, int(time.monotonic() - self._saved_at > SAVE_SECONDS)
        over = int(self._steps_are_done(trainer) or any(_time_is_up(callback) for callback in trainer.callbacks))  # type: ignore[attr-defined]
        if trainer.world_size > 1:  # all processes do what any of them has to do
            flags = torch.tensor([signum, over, due], device=trainer.strategy.root_device)
            dist.all_reduce(flags, dist.ReduceOp.MAX)
            signum, over, due = flags.tolist()
        if signum or over:
            self.stop(trainer, signum)
        if due:
            self.save(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stop after the epoch if the step limit is reached."""
        if self._steps_are_done(trainer):
            trainer.should_stop = True

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save the final state."""
        self.listener.stop()
        self.save(trainer)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Stop listening for signals."""
        self.listener.stop()

    def stop(self, trainer: Trainer, signum: int) -> None:
        """Save, and end training by raising `Stopped`."""
        self.save(trainer)
        raise Stopped(signum)

    def _steps_are_done(self, trainer: Trainer) -> bool:
        return 0 <= self.max_steps <= trainer.global_step

    def save(self, trainer: Trainer) -> None:
        """Write `last.ckpt` unless it is of this step, and keep the previous one as `previous.ckpt`."""
        if self.folder is None or trainer.global_step <= self._saved_step:
            return
        data, epochs = getattr(trainer, "datamodule", None), cast(Any, trainer.fit_loop.epoch_progress.current)
        if epochs.started > epochs.processed and not getattr(data, "resumes_within_epoch", True):
            return  # keep the checkpoint of the last epoch
        for logger in trainer.loggers:  # after a kill, the curves must reach as far as the checkpoint
            getattr(getattr(logger, "experiment", None), "flush", logger.save)()
        path = self.folder / LAST
        if trainer.is_global_zero and path.exists():
            link = path.with_name(f"{PREVIOUS}.link")
            link.unlink(missing_ok=True)
            try:
                os.link(path, link)
            except OSError:  # not every file system supports links
                shutil.copyfile(path, link)
            link.replace(path.with_name(PREVIOUS))
        trainer.save_checkpoint(path)
        self._saved_step, self._saved_at = trainer.global_step, time.monotonic()


def _time_is_up(callback: Callback) -> bool:
    remaining = callback.time_remaining() if isinstance(callback, Timer) else None
    return remaining is not None and remaining <= 0
