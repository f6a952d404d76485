"""The solution of a least squares problem, with its standard errors."""

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from project.least_squares import student_t

EPSILON = torch.finfo(torch.float64).eps


class System(Protocol):
    """The rows of a least squares problem, or a summary of them."""

    def solve(self, alpha: Tensor) -> "LeastSquaresFit":
        """Return the fit with a ridge penalty alpha (in_features,)."""


@dataclass(frozen=True)
class LeastSquaresFit:
    """An exact least squares fit of y = x @ weights + bias, in float64 on the CPU, from `LeastSquares.compute`.

    Attributes:
        weights: Coefficients, shape (in_features, out_features); those of minimum norm if columns are collinear.
        bias: Intercepts, shape (out_features,).
        variance: Variances of intercept and weights for noise of variance 1, shape (1 + in_features,); NaN for those
            that the rows do not determine. With a ridge penalty, they do not include the bias of the estimates (Hoerl &
            Kennard, "Ridge Regression", 1970).
        squared_error: Sum of squared residuals times weights, shape (out_features,).
        target_squares: Sum of squared targets times weights, shape (out_features,).
        target_spread: Sum of squared deviations of the targets from their weighted mean, times weights, shape
            (out_features,).
        rank: Number of linearly independent columns of x, not counting constant columns.
        freedom: Residual degrees of freedom.
        rows: Number of rows whose weight is not 0.
        total_weight: Sum of the weights of the rows; their number without weights.
        factor: A matrix with factor.T @ factor = [1, x].T @ weights @ [1, x], shape (any, 1 + in_features).
        alpha: Ridge penalty, shape (in_features,).
        system: The rows, to fit them with other penalties.
    """

    weights: Tensor
    bias: Tensor
    variance: Tensor
    squared_error: Tensor
    target_squares: Tensor
    target_spread: Tensor
    rank: int
    freedom: float
    rows: int
    total_weight: float
    factor: Tensor
    alpha: Tensor
    system: System

    def ridge(self, alpha: Tensor | float) -> "LeastSquaresFit":
        """Return the fit that minimises squared errors + alpha * squared weights; the intercept is not penalised.

        Args:
            alpha: 0 or more; one number for all columns of x, or one for each, shape (in_features,). It multiplies the
                squared weights in the sum of squared errors, as in `sklearn.linear_model.Ridge`.

        Raises:
            ValueError: If a number is negative or not finite.
        """
        alpha = torch.as_tensor(alpha).double().expand(len(self.weights))
        if not (alpha.isfinite() & (alpha >= 0)).all():
            raise ValueError(f"alpha must be 0 or more, got {alpha.tolist()}")
        return self.system.solve(alpha)

    @property
    def residual_std(self) -> Tensor:
        """Standard deviation of noise in rows of weight 1, (out_features,), in target units; NaN without freedom."""
        left = self.freedom > EPSILON * self.rows
        return (self.squared_error / self.freedom).sqrt() if left else torch.full_like(self.squared_error, torch.nan)

    @property
    def standard_errors(self) -> Tensor:
        """Standard errors of the weights, (in_features, out_features); NaN for those that the rows do not determine."""
        return self.variance[1:, None].sqrt() * self.residual_std

    @property
    def bias_standard_errors(self) -> Tensor:
        """Standard errors of the intercepts, (out_features,); NaN if the rows do not determine them."""
        return self.variance[0].sqrt() * self.residual_std

    @property
    def r2(self) -> Tensor:
        """Coefficient of determination on the training rows, (out_features,); NaN for a constant target."""
        # A target counts as constant if it varies by no more than the rounding errors of its values.
        varies = self.target_spread > (4 * EPSILON) ** 2 * self.target_squares
        return torch.where(varies, 1 - self.squared_error / self.target_spread, torch.nan)

    @property
    def collinear(self) -> bool:
        """Whether a column is constant or a linear combination of others, so that the weights are not unique."""
        return self.rank < len(self.weights)

    @property
    def mse(self) -> float:
        """Weighted mean squared error on the training rows; without a penalty, the minimum for a linear model."""
        return self.squared_error.sum().item() / (self.total_weight * len(self.bias))

    def mse_of(self, weights: Tensor, bias: Tensor) -> float:
        """Return the exact training MSE of weights (in, out) and biases (out,), without reading the rows again."""
        # The error is expanded around this fit, so that no digits cancel if the other model is close to it.
        change = torch.cat([bias[None] - self.bias, weights - self.weights]).double()  # (1 + in, out)
        slope = -2 * self.alpha[:, None] * self.weights  # 0 without a penalty
        more = (self.factor @ change).square().sum() + (slope * change[1:]).sum()
        return self.mse + more.item() / (self.total_weight * len(self.bias))

    def confidence_interval(self, level: float = 0.95) -> tuple[Tensor, Tensor]:
        """Return confidence intervals of the coefficients for normally distributed noise.

        Args:
            level: Confidence level, above 0 and below 1.

        Returns:
            Limits for the weights, shape (2, in_features, out_features), and for the intercepts, (2, out_features).

        Raises:
            ValueError: If the level is not between 0 and 1.
        """
        if not 0 < level < 1:
            raise ValueError(f"level must be above 0 and below 1, got {level}")
        reach = student_t.quantile((1 + level) / 2, self.freedom) if self.freedom > 0 else torch.nan
        ends = torch.tensor([-reach, reach], dtype=torch.float64)
        weights = self.weights + ends[:, None, None] * self.standard_errors
        return weights, self.bias + ends[:, None] * self.bias_standard_errors

    def predict(self, x: Tensor) -> Tensor:
        """Predict x (rows, in_features) -> (rows, out_features), in float64."""
        return x.double() @ self.weights + self.bias
