"""Linear regression in closed form, with a run like that of any other model."""

from typing import Any, cast

import torch

from project.data.loader import Batch, Batches
from project.least_squares import LeastSquaresFit
from project.models.regression import Regression
from project.nets.linear import Linear
from project.runtime.errors import UserError
from project.runtime.ranges import NonNegativeFloat


class LinearRegression(Regression):
    """Solve least squares, or ridge regression, in one pass over the training rows.

    Args:
        in_shape: Shape of one row of x; set by the data.
        out_features: Number of targets; set by the data.
        alpha: Factor on the sum of squared weights of standardised features, which is added to the sum of squared
            errors, as in scikit-learn's `Ridge` after a `StandardScaler`; the intercept is not penalised.

    Attributes:
        fit: The solution with its standard errors; None before training.
    """

    def __init__(self, in_shape: tuple[int, ...], out_features: int, alpha: NonNegativeFloat = 0.0) -> None:
        super().__init__(in_shape, out_features)
        self.alpha = alpha
        self.fit: LeastSquaresFit | None = None

    def setup(self, stage: str) -> None:
        """Take many batches at once: there are no gradient steps."""
        super().setup(stage)
        self.automatic_optimization, self._groups_steps = False, True

    def on_train_start(self) -> None:
        """Solve, and set the weights of the net."""
        super().on_train_start()
        data: Any = getattr(self.trainer, "datamodule", None)
        if data.sampling.bootstrap is not None:
            problem = "LinearRegression does not support row weights; use --model Regression"
            raise UserError(f"--sampling.bootstrap: {problem}")
        self.fit = data.least_squares
        if self.alpha:
            std = data.feature_statistics.std.expand(data.in_shape).flatten()
            self.fit = self.fit.ridge(self.alpha * std.square())
        self.set_weights(self.fit)

    @torch.no_grad()
    def set_weights(self, fit: LeastSquaresFit) -> None:
        """Set the weights of the net, in standard units, from a solution in original units."""
        features, targets, shape = self.net.features, self.net.targets, self.net.net.in_shape
        mean, std = (s.cpu().double().expand(shape).flatten() for s in (features.mean, features.std))
        out_mean, out_std = targets.mean.cpu().double(), targets.std.cpu().double()
        layer = cast(Linear, self.net.net).linear
        layer.weight.copy_((fit.weights * std[:, None] / out_std).T)
        layer.bias.copy_((fit.bias + mean @ fit.weights - out_mean) / out_std)

    def training_step(self, batch: Batch | Batches, batch_idx: int) -> None:  # type: ignore[override]
        """Update the training metrics with a batch; the weights are final."""
        if batch_idx == 0:
            self.optimizers().step()  # type: ignore[union-attr]  # without gradients: one step, to be saved after
        self.running.rows += self._update_metrics(self.train_metrics, batch, batch_idx)

    def on_train_epoch_end(self) -> None:
        """Log the training metrics, and stop training."""
        super().on_train_epoch_end()
        self.trainer.should_stop = True
