"""The solution of a least squares problem to full float64 precision, and its standard errors.

Methods: Golub & Van Loan, *Matrix Computations*, 4th ed., sections 5.3 (least squares by QR), 5.3.8 (refinement), 5.5
(rank deficiency, minimum norm).
"""

from contextlib import suppress

import torch
from torch import Tensor

from project.least_squares import error_free, rational, student_t

EPSILON = torch.finfo(torch.float64).eps
MAX_REFINEMENTS = 20
# If refinement does not converge, equations of at most this many features are solved in rational numbers.
MAX_RATIONAL = 24


class LeastSquaresFit:
    """An exact least squares fit of y = x @ weights + bias, in float64 on the CPU.

    `LeastSquares.compute` creates it from the triangular factor R (size, size) of the columns [1, x, y], and from their
    products [1, x, y]'[1, x, y] in the three parts of `error_free`, (3, size, size); `alpha` (in,) is a ridge penalty.

    Attributes:
        weights: Coefficients, shape (in_features, out_features); of minimum norm if columns are collinear.
        bias: Intercepts, shape (out_features,).
        standard_errors: Standard errors of the weights, shape (in_features, out_features); NaN for a coefficient that
            the rows do not determine, and for all if no degree of freedom is left. With a ridge penalty they do not
            include the bias of the estimate (Hoerl & Kennard, "Ridge Regression", 1970).
        bias_standard_errors: Standard errors of the intercepts, shape (out_features,).
        squared_error: Sum of squared residuals, shape (out_features,).
        freedom: Residual degrees of freedom.
        residual_std: Estimated standard deviation of the noise, shape (out_features,), in target units.
        r2: Coefficient of determination on the training rows, shape (out_features,); NaN for a constant target.
        rank: Number of linearly independent columns of x, not counting constant columns.
    """

    def __init__(
        self, triangle: Tensor, products: Tensor, in_features: int, rows: int, alpha: Tensor | None = None
    ) -> None:
        self.triangle, self.products, self.in_features, self.rows = triangle, products, in_features, rows
        self._alpha = torch.zeros(in_features, dtype=torch.float64) if alpha is None else alpha
        x, y = slice(1, 1 + in_features), slice(1 + in_features, None)
        # R without its first row and column is the factor of the centred columns: the intercept is eliminated.
        design, projected = triangle[x, x], triangle[x, y]  # (in, in), (in, out)
        penalised = triangle_of(design, self._alpha.sqrt().diag()) if self._alpha.any() else design
        inverse, undetermined, determined = _pseudo_inverse(penalised, triangle[0, x], rows)
        hat = design @ inverse  # its squares sum to the trace of the hat matrix: without a penalty, the rank
        means = triangle[0, x] / triangle[0, 0]
        self.rank = in_features - undetermined.shape[1]
        self.weights = inverse @ (hat.T @ projected)
        self.bias = triangle[0, y] / triangle[0, 0] - means @ self.weights
        spread = inverse @ hat.T
        variance = torch.cat([1 / rows + (means @ spread).square().sum()[None], spread.square().sum(1)])
        if not self._refine(inverse, means) and self.rank == in_features <= MAX_RATIONAL:
            with suppress(ZeroDivisionError):  # singular, which float64 did not show
                variance = self._solve_in_rationals()

        products_with_residuals = self._products_with_residuals()
        self._gradient = products_with_residuals[0, : 1 + in_features]
        pairs = zip(products_with_residuals.unbind(-1), self._coefficients.T, strict=True)
        self.squared_error = torch.stack([error_free.matmul(p[:, None], c)[0, 0] for p, c in pairs]).clamp(min=0)
        total = triangle[1:, y].square().sum(0)
        constant = total.sqrt() <= 4 * EPSILON * rows**0.5 * triangle[0, y].abs()
        self.r2 = torch.where(~constant & (total > 0), 1 - self.squared_error / total, torch.nan)
        self.freedom = rows - 1 - (hat.square().sum().item() if self._alpha.any() else self.rank)
        left = self.freedom > EPSILON * rows
        self.residual_std = (self.squared_error / self.freedom).sqrt() if left else torch.full_like(total, torch.nan)
        errors = variance.sqrt()[:, None] * self.residual_std  # (1 + in, out)
        self.standard_errors = torch.where(determined[:, None], errors[1:], torch.nan)
        self.bias_standard_errors = errors[0]

    def _refine(self, inverse: Tensor, means: Tensor) -> bool:
        """Refine by Newton steps on the exact normal equations while they halve; return whether they converge."""
        before = torch.full_like(self.bias, torch.inf)
        for _ in range(MAX_REFINEMENTS):
            gradient = self._products_with_residuals()[0, : 1 + self.in_features]  # (1 + in, out)
            centred = gradient[1:] + self._alpha[:, None] * self.weights - means[:, None] * gradient[0]
            step = inverse @ (inverse.T @ centred)
            length = step.norm(dim=0)
            better = length < before / 2
            if not better.any():
                break
            before = torch.where(better, length, before)
            self.weights -= torch.where(better, step, 0.0)
            self.bias -= torch.where(better, gradient[0] / self.rows - means @ step, 0.0)
        return bool((before <= EPSILON * self.weights.norm(dim=0)).all())

    def _solve_in_rationals(self) -> Tensor:
        """Solve without rounding, and return the coefficients' variances for noise of variance 1, (1 + in,)."""
        size, out = self.in_features, len(self.bias)
        penalty = torch.nn.functional.pad(self._alpha.diag(), (1, out, 1, out))
        solution, inverse = rational.solve(torch.cat([self.products, penalty[None]]), 1 + size)
        self.bias, self.weights = solution[0], solution[1:]
        plain = self.products.sum(0)[: 1 + size, : 1 + size]
        return (inverse @ plain @ inverse).diagonal() if self._alpha.any() else inverse.diagonal()

    def _products_with_residuals(self) -> Tensor:
        """Return [1, x, y]'r, r = x @ weights + bias - y, in two parts: (2, 1 + in + out, out).

        The first part without the rows of y, (1 + in, out), is half the gradient of the squared error.
        """
        return torch.stack([error_free.matmul(self.products, c) for c in self._coefficients.T], dim=-1)

    @property
    def _coefficients(self) -> Tensor:
        """The matrix that turns [1, x, y] into residuals: (1 + in + out, out)."""
        return torch.cat([self.bias[None], self.weights, -torch.eye(len(self.bias), dtype=torch.float64)])

    def ridge(self, alpha: Tensor | float) -> "LeastSquaresFit":
        """Return the fit that minimises squared errors + alpha * squared weights; the intercept is not penalised.

        Args:
            alpha: 0 or more, one for all columns of x or one for each, shape (in_features,); in units of the sum of
                squared errors, as in `sklearn.linear_model.Ridge`.
        """
        alpha = torch.as_tensor(alpha).double().expand(self.in_features)
        if not (alpha.isfinite() & (alpha >= 0)).all():
            raise ValueError(f"alpha must be 0 or more, got {alpha.tolist()}")
        return LeastSquaresFit(self.triangle, self.products, self.in_features, self.rows, alpha)

    @property
    def collinear(self) -> bool:
        """Whether a column is constant or a linear combination of others, so that the weights are not unique."""
        return self.rank < len(self.weights)

    @property
    def mse(self) -> float:
        """Mean squared error on the training rows; without a penalty, the minimum for a linear model."""
        return self.squared_error.sum().item() / (self.rows * len(self.bias))

    @property
    def mean_square_target(self) -> float:
        """Mean of the squared targets: the scale at which an MSE is rounding error."""
        squares = self.products.sum(0).diagonal()[1 + self.in_features :]
        return squares.sum().item() / (self.rows * len(self.bias))

    def mse_of(self, weights: Tensor, bias: Tensor) -> float:
        """Return the exact training MSE of weights (in, out) and biases (out,), without reading the rows again."""
        # Expanded around this fit, whose squared error is exact: nothing cancels if the other model is close to it.
        change = torch.cat([bias[None] - self.bias, weights - self.weights]).double()  # (1 + in, out)
        size = 1 + self.in_features
        more = (self.triangle[:size, :size] @ change).square().sum() + 2 * (change * self._gradient).sum()
        return self.mse + more.item() / (self.rows * len(self.bias))

    def confidence_interval(self, level: float = 0.95) -> tuple[Tensor, Tensor]:
        """Return confidence intervals of the coefficients, for normally distributed noise and a level within (0, 1).

        Returns:
            Ends for the weights, shape (2, in_features, out_features), and for the intercepts, (2, out_features).
        """
        if not 0 < level < 1:
            raise ValueError(f"level must be above 0 and below 1, got {level}")
        reach = student_t.quantile((1 + level) / 2, self.freedom) if self.freedom > 0 else torch.nan
        ends = torch.tensor([-reach, reach]).double()
        weights = self.weights + ends[:, None, None] * self.standard_errors
        return weights, self.bias + ends[:, None] * self.bias_standard_errors

    def predict(self, x: Tensor) -> Tensor:
        """Predict x (rows, in_features) -> (rows, out_features), in float64."""
        return x.double() @ self.weights + self.bias


def triangle_of(*blocks: Tensor) -> Tensor:
    """Return the square factor R of vertically stacked blocks."""
    stacked = torch.cat(blocks)
    return torch.linalg.qr(stacked, mode="r").R[: stacked.shape[1]]


def _pseudo_inverse(design: Tensor, offsets: Tensor, rows: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return the pseudo-inverse (in, in) of the centred design's factor, a basis (in, in - rank) of its null space, and
    whether each column's coefficient is determined (in,).

    Rank is decided on columns scaled to length 1, so that it does not depend on units of measurement; the solution of
    minimum norm is in the columns' own units, as in `numpy.linalg.lstsq`.
    """
    lengths = design.norm(dim=0)
    # A column is constant if it varies by no more than the rounding error of its mean.
    constant = lengths <= 4 * EPSILON * rows**0.5 * offsets.abs()
    scale = torch.where(constant, 1.0, lengths)
    u, singular, vt = torch.linalg.svd(torch.where(constant, 0.0, design / scale))
    farthest = torch.where(constant, 1.0, offsets.abs() / scale).clamp(min=1).amax()
    rank = int((singular > 8 * EPSILON * len(design) * farthest).sum())  # a column with a large mean has fewer digits
    inverse = (vt[:rank].T / singular[:rank] @ u[:, :rank].T) / scale[:, None]
    undetermined = torch.linalg.qr((vt[rank:] / scale).T).Q  # directions of the weights that change no prediction
    determined = vt[rank:].square().sum(0) < 1e-12  # in scaled columns: independent of units
    return inverse - undetermined @ (undetermined.T @ inverse), undetermined, determined
