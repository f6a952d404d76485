"""Linear regression in closed form, as a LightningModule."""

import math
from typing import Any, cast

import torch
from torch import Tensor

from project.data.datamodule import RowsDataModule
from project.data.loader import Batch, Batches
from project.least_squares import LeastSquares, LeastSquaresFit
from project.models.regression import Regression
from project.nets.linear import Linear
from project.runtime.errors import UserError
from project.runtime.ranges import NonNegativeFloat


class LinearRegression(Regression):
    """Solve least squares, or ridge regression, in one pass over the training rows.

    Args:
        in_shape: Shape of one row of x; set by the data.
        out_features: Number of targets; set by the data.
        alpha: Ridge penalty: factor of the sum of squared weights of standardised features, which is added to the sum
            of squared errors, as in scikit-learn's `Ridge` after a `StandardScaler`. The intercept is not penalised.
        levels: For each column of x, the number of levels if it is a category, otherwise 0; set by the data.

    Attributes:
        fit: The solution with its standard errors; None before training.
    """

    def __init__(
        self,
        in_shape: tuple[int, ...],
        out_features: int,
        alpha: NonNegativeFloat = 0.0,
        levels: list[int] | None = None,
    ) -> None:
        super().__init__(in_shape, out_features, levels=levels)
        self.alpha = alpha
        self.fit: LeastSquaresFit | None = None

    def setup(self, stage: str) -> None:
        """Process many batches in one step, because there are no gradient steps."""
        super().setup(stage)
        self.automatic_optimization, self._groups_steps = False, True

    def on_train_start(self) -> None:
        """Solve, and set the weights of the net."""
        super().on_train_start()
        self.fit = self._solve()
        if self.alpha:
            self.fit = self.fit.ridge(self.alpha * self._feature_std().square())
        self.set_weights(self.fit)

    def _solve(self) -> LeastSquaresFit:
        """Return the fit of the rows of the data module, or of the training loader with any other data module."""
        data: Any = getattr(self.trainer, "datamodule", None)
        if not isinstance(data, RowsDataModule):
            if self.trainer.world_size > 1:
                raise UserError(
                    "--trainer.devices: LinearRegression supports this data module only on one device; use 1"
                )
            least_squares = LeastSquares(math.prod(self.net.net.in_shape), self.net.net.out_features)
            for batch in self.trainer.train_dataloader or ():
                least_squares.update(*(part.cpu() for part in batch))
            return least_squares.compute()
        if data.sampling.bootstrap is not None:
            problem = "LinearRegression does not support row weights; use --model Regression"
            raise UserError(f"--sampling.bootstrap: {problem}")
        return data.least_squares

    def _feature_std(self) -> Tensor:
        """Return the standard deviation of each input, (in_features,), float64."""
        data: Any = getattr(self.trainer, "datamodule", None)
        std = data.feature_statistics.std if isinstance(data, RowsDataModule) else self.net.features.std
        return std.cpu().double().expand(self.net.net.in_shape).flatten()

    @torch.no_grad()
    def set_weights(self, fit: LeastSquaresFit) -> None:
        """Set the weights of the net, in standard units, from a solution in the units of the table."""
        features, targets, shape = self.net.features, self.net.targets, self.net.net.in_shape
        mean, std = (s.cpu().double().expand(shape).flatten() for s in (features.mean, features.std))
        out_mean, out_std = targets.mean.cpu().double(), targets.std.cpu().double()
        layer = cast(Linear, self.net.net).linear
        layer.weight.copy_((fit.weights * std[:, None] / out_std).T)
        data: Any = getattr(self.trainer, "datamodule", None)
        bias = fit.bias - data.bias_change(fit.weights) if isinstance(data, RowsDataModule) else fit.bias
        layer.bias.copy_((bias + mean @ fit.weights - out_mean) / out_std)

    def training_step(self, batch: Batch | Batches, batch_idx: int) -> None:
        """Update the training metrics with a batch; the weights are final."""
        if batch_idx == 0:
            optimizer: Any = self.optimizers()
            optimizer.step()  # changes nothing, but Lightning saves a checkpoint only after a step
        self.running.rows += self._update_metrics(self.train_metrics, batch, batch_idx)

    def on_train_epoch_end(self) -> None:
        """Log the training metrics, and stop training."""
        super().on_train_epoch_end()
        self.trainer.should_stop = True
