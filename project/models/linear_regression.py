"""Linear regression without epochs: the exact least squares answer, as a run like any other."""

from typing import Any, cast

import torch

from project.data.loader import Batch, Batches
from project.least_squares import LeastSquaresFit
from project.models.regression import Regression
from project.models.supervised import MAX_STEPS
from project.nets.linear import Linear
from project.runtime.errors import UserError


class LinearRegression(Regression):
    """Solves least squares, or ridge regression, in one pass over the training rows.

    Args:
        in_shape: Shape of one row of x; comes from the data.
        out_features: Number of targets; comes from the data.
        alpha: Ridge penalty on the squared weights of standardised features, added to the sum of squared errors, as in
            scikit-learn's `Ridge` behind a `StandardScaler`; the intercept is not penalised.

    Attributes:
        fit: The solution with its standard errors, once trained.
    """

    def __init__(self, in_shape: tuple[int, ...], out_features: int, alpha: float = 0.0) -> None:
        if alpha < 0:
            raise UserError(f"--model.alpha is {alpha}: a penalty is 0 or more")
        super().__init__(in_shape, out_features)
        self.automatic_optimization = False  # there is no loss to descend
        self.alpha = alpha
        self.fit: LeastSquaresFit | None = None

    @property
    def steps_per_execution(self) -> int:
        """Any number: there are no steps to look at."""
        return MAX_STEPS

    def on_train_start(self) -> None:
        """Solve, and take over the answer."""
        super().on_train_start()
        data: Any = getattr(self.trainer, "datamodule", None)
        if data.sampling.bootstrap is not None:
            raise UserError("--sampling.bootstrap: LinearRegression weighs all rows alike: use it with Regression")
        self.fit = data.least_squares
        if self.alpha:
            std = data.feature_statistics.std.expand(data.in_shape).flatten()
            self.fit = self.fit.ridge(self.alpha * std.square())
        self.take_over(self.fit)
        progress = self.trainer.fit_loop.epoch_loop.manual_optimization.optim_step_progress
        progress.increment_ready()
        progress.increment_completed()  # one step has been taken, and checkpoints are of its end

    @torch.no_grad()
    def take_over(self, fit: LeastSquaresFit) -> None:
        """Set the net's weights, in standard units, from a solution in original ones."""
        features, targets, shape = self.net.features, self.net.targets, self.net.net.in_shape
        mean, std = (s.cpu().double().expand(shape).flatten() for s in (features.mean, features.std))
        out_mean, out_std = targets.mean.cpu().double(), targets.std.cpu().double()
        layer = cast(Linear, self.net.net).linear
        layer.weight.copy_((fit.weights * std[:, None] / out_std).T)
        layer.bias.copy_((fit.bias + mean @ fit.weights - out_mean) / out_std)

    def training_step(self, batch: Batch | Batches, batch_idx: int) -> None:  # type: ignore[override]
        """Take a batch into the training metrics; there is nothing left to learn."""
        self.running.rows += self._evaluate(self.train_metrics, batch, batch_idx)

    def on_train_epoch_end(self) -> None:
        """Log the training metrics, and stop."""
        super().on_train_epoch_end()
        self.trainer.should_stop = True
