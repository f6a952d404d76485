"""Log a figure of the fit at the start, in the middle and at the end of training."""

from typing import TYPE_CHECKING

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import TensorBoardLogger

from project.data.datamodule import RowsDataModule
from project.models.classification import Classification
from project.models.language_model import LanguageModel
from project.models.supervised import Supervised

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MAX_POINTS = 1_000
MAX_STEPS = 200
CONFUSION_ROWS = 1_024  # at a time


class FitFigure(Callback):
    """Log a figure of the fit to TensorBoard, as `fit`.

    For one feature and one target: the training rows with the learned and the exact line. For series: forecasts and
    actual values. For classes: the confusion matrix. For text: none. Otherwise: predicted against actual values. All
    but the first show validation rows.
    """

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draw the untrained model."""
        if trainer.global_step == 0:
            self._log(trainer, pl_module, step=0)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draw the model halfway through training."""
        epochs = trainer.max_epochs or 0
        if epochs > 2 and trainer.current_epoch + 1 == epochs // 2:
            self._log(trainer, pl_module, step=trainer.global_step - 1)  # at which Lightning logs this epoch's metrics

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draw the trained model."""
        self._log(trainer, pl_module, step=trainer.global_step)

    def _log(self, trainer: Trainer, pl_module: LightningModule, step: int) -> None:
        if not trainer.is_global_zero:
            return
        loggers = [logger for logger in trainer.loggers if isinstance(logger, TensorBoardLogger)]
        data = trainer.datamodule  # type: ignore[attr-defined]
        if isinstance(pl_module, LanguageModel):  # predicts neither numbers nor a few classes
            return
        if loggers and isinstance(pl_module, Supervised) and isinstance(data, RowsDataModule):
            was_training = pl_module.training
            figure = fit_figure(pl_module.eval(), data, title=f"after {trainer.global_step} steps")
            pl_module.train(was_training)
            for logger in loggers:
                logger.experiment.add_figure("fit", figure, step)


@torch.no_grad()
def fit_figure(model: Supervised, data: RowsDataModule, title: str) -> "Figure":
    """Return a figure of how well a model fits, of a kind that suits its data."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 4), dpi=240, layout="constrained")
    axes = figure.add_subplot(title=title)
    if isinstance(model, Classification):
        _draw_confusion(axes, model, data)
    elif data.window:
        _draw_forecast(axes, model, data)
    elif data.in_shape == (1,) and data.levels is None and data.out_features == 1:
        _draw_line(axes, model, data)
    else:
        _draw_agreement(axes, model, data)
    return figure


def _draw_line(axes: "Axes", model: Supervised, data: RowsDataModule) -> None:
    x, y = (part[:MAX_POINTS] for part in (data.splits.train.x, data.splits.train.y))
    axes.scatter(x, y, s=12, alpha=min(1.0, 60 / len(x) ** 0.7), color="tab:gray", label="training rows")
    lowest, highest = x.aminmax()
    grid = lowest + (highest - lowest) * torch.linspace(0, 1, 200)[:, None]  # (200, 1)
    exact = data.least_squares.predict(grid) - data.bias_change(data.least_squares.weights)
    axes.plot(grid, exact, color="tab:green", lw=5, alpha=0.5, label="exact least squares")
    axes.plot(grid, model(grid.to(model.device)).cpu(), color="tab:orange", lw=1.8, label="learned")
    labels = zip((data.feature_names[0], data.target_names[0]), (data.input_offsets, data.target_offsets), strict=True)
    xlabel, ylabel = (f"{name} - {offsets[0]!r}" if offsets else name for name, offsets in labels)
    axes.set(xlabel=xlabel, ylabel=ylabel)
    axes.legend(frameon=False)


def _draw_agreement(axes: "Axes", model: Supervised, data: RowsDataModule) -> None:
    x, y = data.splits.val.first(MAX_POINTS), data.splits.val.y[:MAX_POINTS]
    outputs = model(x.to(model.device)).cpu()
    for column, name in enumerate(data.target_names[:8]):
        axes.scatter(y[:, column], outputs[:, column], s=12, alpha=0.6, label=name)
    corners = [min(y.min(), outputs.min()).item(), max(y.max(), outputs.max()).item()]
    axes.plot(corners, corners, color="tab:gray", lw=1, label="equal")
    axes.set(xlabel="actual (validation rows)", ylabel="predicted")
    axes.legend(frameon=False)


def _draw_forecast(axes: "Axes", model: Supervised, data: RowsDataModule) -> None:
    x, y = (part[:MAX_STEPS] for part in (data.splits.val.x, data.splits.val.y))
    outputs, horizon = model(x.to(model.device)).cpu(), y.shape[1]
    axes.plot(y[:, 0], color="tab:gray", lw=1.5, label="actual")
    if horizon == 1:
        axes.plot(outputs[:, 0], color="tab:orange", lw=1.2, label="forecast, one step ahead")
    for start in range(0, len(y) - horizon + 1, 2 * horizon) if horizon > 1 else ():
        label = f"forecasts of {horizon} steps" if start == 0 else None
        axes.plot(range(start, start + horizon), outputs[start], color="tab:orange", lw=2, label=label)
    axes.set(xlabel="time step (of the validation rows)", ylabel=data.target_names[0].split("+")[0])
    axes.legend(frameon=False, loc="upper right")


def _draw_confusion(axes: "Axes", model: Classification, data: RowsDataModule) -> None:
    val = data.splits.val
    starts = range(0, len(val), CONFUSION_ROWS)
    parts = [model.confusion_matrix(*val.gather(slice(at, min(at + CONFUSION_ROWS, len(val))))[:2]) for at in starts]
    counts = torch.stack(parts).sum(0)
    names = data.class_names or []
    axes.imshow((counts / counts.sum(1, keepdim=True).clamp(min=1)).numpy(), cmap="Blues", vmin=0, vmax=1)
    if len(names) <= 20:
        axes.set_xticks(range(len(names)), names)
        axes.set_yticks(range(len(names)), names)
        for true, row in enumerate(counts.tolist()):
            for predicted, count in enumerate(row):
                shade = "white" if count > 0.5 * sum(row) else "black"
                axes.text(predicted, true, count or "", ha="center", va="center", color=shade, fontsize=7)
    axes.set(xlabel="predicted", ylabel="true (validation rows)")
