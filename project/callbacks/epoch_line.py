"""Print the training loss every few epochs, even without a progress bar."""

from lightning.pytorch import Callback, LightningModule, Trainer

from project.runtime.ranges import NonNegativeInt


class EpochLine(Callback):
    """Print `Epoch [10/100], Loss: 1.0123`, the mean training loss of an epoch, every tenth epoch.

    Args:
        every_n_epochs: Print at epochs that are a multiple of this number; 0 prints nothing.
    """

    def __init__(self, every_n_epochs: NonNegativeInt = 10) -> None:
        self.every_n_epochs = every_n_epochs
        self._finished_epoch = 0

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Remember the epoch: the model logs its loss after the hooks of callbacks have run."""
        self._finished_epoch = trainer.current_epoch + 1

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Print the line of the previous epoch."""
        self._print(trainer)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Print the line of the last epoch."""
        self._print(trainer)

    def _print(self, trainer: Trainer) -> None:
        epoch, self._finished_epoch = self._finished_epoch, 0
        if epoch and self.every_n_epochs and epoch % self.every_n_epochs == 0:
            total = f"/{trainer.max_epochs}" if (trainer.max_epochs or -1) > 0 else ""
            metrics = trainer.callback_metrics
            losses = [name for name in metrics if "train" in name and name.endswith(("loss", "loss_epoch"))]
            loss = f", Loss: {metrics[losses[0]].item():.4f}" if losses else ""
            trainer.print(f"Epoch [{epoch}{total}]{loss}")
