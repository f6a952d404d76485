"""One printed line every few epochs, on a terminal or without one."""

from lightning.pytorch import Callback, LightningModule, Trainer

from project.errors import UserError


class EpochLine(Callback):
    """Prints `Epoch [10/100], Loss: 1.0123` at every tenth epoch, with the epoch's mean training loss.

    Args:
        every_n_epochs: Print at epochs that this number divides; 0 prints none.
    """

    def __init__(self, every_n_epochs: int = 10) -> None:
        if every_n_epochs < 0:
            raise UserError(f"--epoch_line.every_n_epochs is {every_n_epochs}: give 0 or more")
        self.every_n_epochs = every_n_epochs

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Print the line."""
        epoch, loss = trainer.current_epoch + 1, trainer.callback_metrics.get("train/loss")
        if loss is None or not self.every_n_epochs or epoch % self.every_n_epochs:
            return
        of = f"/{trainer.max_epochs}" if trainer.max_epochs and trainer.max_epochs > 0 else ""
        trainer.print(f"Epoch [{epoch}{of}], Loss: {loss.item():.4f}")
