"""Log a learning curve of a language model: bits per byte against the number of trained tokens."""

from typing import TYPE_CHECKING, Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import TensorBoardLogger

from project.callbacks.text_answer import TextAnswer
from project.callbacks.throughput import trained_tokens
from project.models.language_model import LanguageModel

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NAME = "val/bits_per_byte"


class TextFigure(Callback):
    """Log bits per byte of the validation split against trained tokens to TensorBoard, as `bits per byte`.

    A line shows the bits per byte of the n-gram model.

    Args:
        answer: The callback with the bits per byte of the n-gram model.

    Attributes:
        points: Number of tokens and bits per byte at each validation.
    """

    def __init__(self, answer: TextAnswer) -> None:
        self.answer = answer
        self.points: list[tuple[int, float]] = []

    def state_dict(self) -> dict[str, Any]:
        """Return the points so far."""
        return {"points": self.points}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the points."""
        self.points = state_dict["points"]

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Add a point."""
        if isinstance(pl_module, LanguageModel) and NAME in trainer.callback_metrics and not trainer.sanity_checking:
            point = trained_tokens(trainer, pl_module), trainer.callback_metrics[NAME].item()
            self.points = [*self.points, point]

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draw the figure."""
        loggers = [logger for logger in trainer.loggers if isinstance(logger, TensorBoardLogger)]
        if self.points and loggers and trainer.is_global_zero:
            figure = learning_curve(self.points, self.answer.validation)
            for logger in loggers:
                logger.experiment.add_figure("bits per byte", figure, trainer.global_step)


def learning_curve(points: list[tuple[int, float]], n_grams: float | None) -> "Figure":
    """Return a figure of points (tokens, bits per byte), and of the bits per byte of an n-gram model if known."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 4), dpi=120, layout="constrained")
    axes = figure.add_subplot(xlabel="tokens trained on", ylabel="bits per byte (validation)")
    axes.plot(*zip(*points, strict=True), "o-", color="tab:orange", label="this model")
    if n_grams is not None:
        axes.axhline(n_grams, color="tab:gray", lw=1, label="n-grams (Kneser-Ney)")
    axes.legend(frameon=False)
    return figure
