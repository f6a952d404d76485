"""One printed line every few epochs, on a terminal or without one."""

from lightning.pytorch import Callback, LightningModule, Trainer

from project.runtime.errors import UserError


class EpochLine(Callback):
    """Prints `Epoch [10/100], Loss: 1.0123` at every tenth epoch, with the epoch's mean training loss.

    Args:
        every_n_epochs: Print at epochs that this number divides; 0 prints none.
    """

    def __init__(self, every_n_epochs: int = 10) -> None:
        if every_n_epochs < 0:
            raise UserError(f"--epoch_line.every_n_epochs is {every_n_epochs}: give 0 or more")
        self.every_n_epochs = every_n_epochs
        self._ended = 0

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Note the epoch; its loss is logged by the model, whose hook comes after those of callbacks."""
        self._ended = trainer.current_epoch + 1

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Print the line of the epoch before."""
        self._print(trainer)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Print the line of the last epoch."""
        self._print(trainer)

    def _print(self, trainer: Trainer) -> None:
        epoch, self._ended = self._ended, 0
        if epoch and self.every_n_epochs and epoch % self.every_n_epochs == 0:
            of = f"/{trainer.max_epochs}" if (trainer.max_epochs or -1) > 0 else ""
            trainer.print(f"Epoch [{epoch}{of}], Loss: {trainer.callback_metrics['train/loss'].item():.4f}")
