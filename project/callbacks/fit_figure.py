"""A picture of the fit at the start, in the middle and at the end of training."""

from typing import TYPE_CHECKING

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import TensorBoardLogger

from project.data.datamodule import RowsDataModule
from project.models.regression import Regression

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST_POINTS = 1_000


class FitFigure(Callback):
    """Draws the fit into TensorBoard, as `fit`.

    For one feature and one target: points, the learned line and, where known, the exact one. Otherwise: predicted
    against actual values of validation rows, one colour a target.
    """

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draw the untrained model."""
        self._log(trainer, pl_module)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draw in the middle."""
        epochs = trainer.max_epochs or 0
        if epochs > 2 and trainer.current_epoch + 1 == epochs // 2:
            self._log(trainer, pl_module)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draw the trained model."""
        self._log(trainer, pl_module)

    def _log(self, trainer: Trainer, pl_module: LightningModule) -> None:
        loggers = [logger for logger in trainer.loggers if isinstance(logger, TensorBoardLogger)]
        data = trainer.datamodule  # type: ignore[attr-defined]
        if (
            loggers
            and trainer.is_global_zero
            and isinstance(pl_module, Regression)
            and isinstance(data, RowsDataModule)
        ):
            figure = fit_figure(pl_module, data, title=f"after {trainer.global_step} steps")
            for logger in loggers:
                logger.experiment.add_figure("fit", figure, trainer.global_step)


@torch.no_grad()
def fit_figure(model: Regression, data: RowsDataModule, title: str) -> "Figure":
    """The learned line over the training points (one feature, one target), or predicted against actual values."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 4), dpi=120, layout="constrained")
    axes = figure.add_subplot(title=title)
    if data.in_shape == (1,) and data.out_features == 1:
        x, y = (part[:MOST_POINTS] for part in (data.splits.train.x, data.splits.train.y))
        axes.scatter(x, y, s=12, alpha=min(1.0, 60 / len(x) ** 0.7), color="tab:gray", label="training rows")
        ends = torch.stack([x.min(0).values, x.max(0).values])  # (2, 1)
        grid = ends[0] + (ends[1] - ends[0]) * torch.linspace(0, 1, 200)[:, None]
        axes.plot(
            grid, data.least_squares.predict(grid), color="tab:green", lw=5, alpha=0.5, label="exact least squares"
        )
        axes.plot(grid, model(grid.to(model.device)).cpu(), color="tab:orange", lw=1.8, label="learned")
        axes.set(xlabel=data.feature_names[0], ylabel=data.target_names[0])
    else:
        x, y = (part[:MOST_POINTS] for part in (data.splits.val.x, data.splits.val.y))
        outputs = model(x.to(model.device)).cpu()
        for column, name in enumerate(data.target_names[:8]):
            axes.scatter(y[:, column], outputs[:, column], s=12, alpha=0.6, label=name)
        corners = [min(y.min(), outputs.min()).item(), max(y.max(), outputs.max()).item()]
        axes.plot(corners, corners, color="tab:gray", lw=1, label="equal")
        axes.set(xlabel="actual (validation rows)", ylabel="predicted")
    axes.legend(frameon=False)
    return figure
