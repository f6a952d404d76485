"""Log a figure of how well the predicted probabilities of classes are calibrated."""

from typing import TYPE_CHECKING

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from torch import Tensor

from project.data.datamodule import RowsDataModule
from project.models.classification import Classification

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BINS, MAX_ROWS, PART_ROWS = 10, 10_000, 256


class ReliabilityFigure(Callback):
    """Log a reliability diagram of the validation rows to TensorBoard at the end of training, as `reliability`.

    Rows are sorted into ten bins of equal size by a probability: that of the second class if there are two, otherwise
    that of the most likely one. If it is calibrated, it equals the share of the rows of a bin that are of that class.

    Source: Niculescu-Mizil & Caruana, "Predicting Good Probabilities With Supervised Learning" (2005).
    """

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draw the trained model."""
        loggers = [logger for logger in trainer.loggers if isinstance(logger, TensorBoardLogger)]
        data = trainer.datamodule  # type: ignore[attr-defined]
        is_drawn = isinstance(pl_module, Classification) and isinstance(data, RowsDataModule) and len(data.splits.val)
        if not loggers or not is_drawn or not trainer.is_global_zero:
            return
        was_training = pl_module.training
        figure = reliability_figure(pl_module.eval(), data)  # type: ignore[arg-type]
        pl_module.train(was_training)
        for logger in loggers:
            logger.experiment.add_figure("reliability", figure, trainer.global_step)


@torch.no_grad()
def reliability_figure(model: Classification, data: RowsDataModule) -> "Figure":
    """Return a reliability diagram of up to 10,000 validation rows."""
    from matplotlib.figure import Figure

    rows, y = data.splits.val, data.splits.val.y[:MAX_ROWS]
    parts = (rows.gather(slice(start, min(start + PART_ROWS, len(y))))[0] for start in range(0, len(y), PART_ROWS))
    probabilities = torch.cat([model(part.to(model.device)).softmax(1).cpu() for part in parts])
    if probabilities.shape[1] == 2:
        shown, occurred, name = probabilities[:, 1], y == 1, (data.class_names or ["0", "1"])[1]
    else:
        shown, chosen = probabilities.max(1)
        occurred, name = chosen == y, "the most likely class"
    predicted, observed = reliability(shown, occurred)
    figure = Figure(figsize=(5, 5), dpi=120, layout="constrained")
    axes = figure.add_subplot(xlabel=f"predicted probability of {name}", ylabel="observed share of validation rows")
    axes.plot([0, 1], [0, 1], color="tab:gray", lw=1, label="perfectly calibrated")
    axes.plot(predicted, observed, "o-", color="tab:orange", label=f"{BINS} bins of equal size")
    axes.legend(frameon=False)
    return figure


def reliability(probabilities: Tensor, occurred: Tensor) -> tuple[Tensor, Tensor]:
    """Return the mean predicted probability in each bin, and the observed frequency of the event, (bins,) each.

    Args:
        probabilities: Predicted probability of an event for each row, (n,).
        occurred: Whether the event occurred, (n,).
    """
    order = probabilities.argsort(stable=True)
    parts = [part for part in order.tensor_split(BINS) if len(part)]
    return tuple(torch.stack([values[part].double().mean() for part in parts]) for values in (probabilities, occurred))  # type: ignore[return-value]
