"""The progress bar of a fit."""

import math
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks.progress.tqdm_progress import Tqdm, TQDMProgressBar


class EpochBar(TQDMProgressBar):
    """One bar for a whole fit, with the remaining time: `Epoch 3/100:  2%|▏   | 00:01<00:58`.

    It counts epochs from 1, as the printed lines do. If the number of epochs is unknown, it shows one epoch at a time.
    Validation has no bar of its own, so a notebook shows one widget for each fit.
    """

    BAR_FORMAT = "{l_bar}{bar}| {elapsed}<{remaining}{postfix}"

    def on_train_start(self, trainer: Trainer, *_: Any) -> None:
        """Start at the epoch at which a resumed run continues."""
        super().on_train_start()
        epochs, batches = trainer.max_epochs or -1, self.total_train_batches
        self._whole_fit = epochs > 0 and math.isfinite(batches)
        bar = self.train_progress_bar
        if self._whole_fit:
            bar.reset(epochs * batches)
            bar.initial = bar.n = trainer.current_epoch * batches

    def on_train_epoch_start(self, trainer: Trainer, *_: Any) -> None:
        """Show the number of the epoch."""
        if not self._whole_fit:
            super().on_train_epoch_start(trainer)
        total = f"/{trainer.max_epochs}" if (trainer.max_epochs or -1) > 0 else ""
        self.train_progress_bar.set_description(f"Epoch {trainer.current_epoch + 1}{total}")

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Advance the bar."""
        before = trainer.current_epoch * self.total_train_batches if self._whole_fit else 0
        bar = self.train_progress_bar
        bar.set_postfix(self.get_metrics(trainer, pl_module), refresh=False)
        bar.update(int(before) + batch_idx + 1 - bar.n)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Show the metrics of the last epoch, which the model logs after the hooks of callbacks."""
        self.train_progress_bar.set_postfix(self.get_metrics(trainer, pl_module))
        super().on_train_end()

    def init_sanity_tqdm(self) -> Tqdm:
        """Return a bar that is not shown."""
        return Tqdm(disable=True)

    def init_validation_tqdm(self) -> Tqdm:
        """Return a bar that is not shown."""
        return Tqdm(disable=True)

    def get_metrics(self, trainer: Trainer, pl_module: LightningModule) -> dict[str, Any]:
        """Return the metrics that are shown after the bar, without the version number of the run."""
        return {name: value for name, value in super().get_metrics(trainer, pl_module).items() if name != "v_num"}
