"""The exact answer that learning is measured against: ordinary least squares with an intercept, in float64.

Rows are read once, in blocks, and kept as the triangular factor of a QR decomposition, so memory is that of a
(features + targets + 1)-square matrix whatever the number of rows. Orthogonal triangularisation squares no condition
number, which forming X'X would. Methods: Golub & Van Loan, *Matrix Computations*, 4th ed., sections 5.3 (least
squares by QR), 5.5 (rank deficiency, minimum norm) and 6.5.3 (adding rows to a QR).
"""

from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric

BLOCK_ROWS = 8_192
EPSILON = torch.finfo(torch.float64).eps


class LeastSquaresFit:
    """An exact least squares fit of y = x @ weights + bias, in float64 on the CPU.

    Args:
        triangle: The factor R of the columns [1, x, y], shape (1 + in + out, 1 + in + out).
        in_features: Columns of x.
        rows: Number of rows that R stands for.

    Attributes:
        weights: Coefficients, shape (in_features, out_features); of minimum norm where columns are collinear.
        bias: Intercepts, shape (out_features,).
        standard_errors: Of the weights, shape (in_features, out_features); NaN for a coefficient that the rows do not
            determine, and for all where no degree of freedom is left.
        bias_standard_errors: Of the intercepts, shape (out_features,).
        residual_std: Estimated standard deviation of the noise, shape (out_features,), in target units.
        r2: Coefficient of determination on the training rows, shape (out_features,); NaN for a constant target.
        rank: Number of linearly independent columns of x, constant ones apart.
    """

    def __init__(self, triangle: Tensor, in_features: int, rows: int) -> None:
        self.triangle, self.rows = triangle, rows
        x, y = slice(1, 1 + in_features), slice(1 + in_features, None)
        # Without its first row and column, R is the factor of the centred columns: the intercept is eliminated.
        design, projected = triangle[x, x], triangle[x, y]  # (in, in), (in, out)
        pseudo_inverse, undetermined = _pseudo_inverse(design, triangle[0, x], rows)
        self.rank = in_features - undetermined.shape[1]
        self.weights = pseudo_inverse @ projected
        means = triangle[0, x] / triangle[0, 0]
        self.bias = triangle[0, y] / triangle[0, 0] - means @ self.weights

        residual = (projected - design @ self.weights).square().sum(0) + triangle[y, y].square().sum(0)
        total = triangle[1:, y].square().sum(0)
        self.r2 = torch.where(total > 0, 1 - residual / total, torch.nan)
        freedom = rows - self.rank - 1
        self.residual_std = (residual / freedom).sqrt() if freedom > 0 else torch.full_like(residual, torch.nan)
        determined = undetermined.square().sum(1) < 1e-12
        spread = torch.where(determined, pseudo_inverse.norm(dim=1), torch.nan)
        self.standard_errors = spread[:, None] * self.residual_std
        self.bias_standard_errors = (1 / rows + (means @ pseudo_inverse).square().sum()).sqrt() * self.residual_std

    @property
    def collinear(self) -> bool:
        """Whether some columns are constant or a combination of others, so that the weights are not unique."""
        return self.rank < len(self.weights)

    @property
    def mse(self) -> float:
        """Mean squared error on the training rows, the least that a linear model can have."""
        return self.mse_of(self.weights, self.bias)

    def mse_of(self, weights: Tensor, bias: Tensor) -> float:
        """Exact training MSE of another linear model, without another look at the rows.

        Args:
            weights: Shape (in_features, out_features).
            bias: Shape (out_features,).
        """
        coefficients = torch.cat([bias[None], weights, -torch.eye(len(bias))]).double()  # (1 + in + out, out)
        return float((self.triangle @ coefficients).square().sum() / (self.rows * len(bias)))

    def predict(self, x: Tensor) -> Tensor:
        """x (rows, in_features) -> (rows, out_features), in float64."""
        return x.double() @ self.weights + self.bias


class LeastSquares(Metric):
    """Exact least squares over all rows that pass through `update`, on any number of processes.

    Args:
        in_features: Columns of x.
        out_features: Columns of y.
        **options: Of `torchmetrics.Metric`; `sync_on_compute=False` where each process has seen all rows.

    Example:
        >>> import torch
        >>> metric = LeastSquares(1, 1)
        >>> x = torch.tensor([[0.0], [1.0], [2.0]])
        >>> metric.update(x, 3 * x + 2)
        >>> fit = metric.compute()
        >>> round(fit.weights.item(), 6), round(fit.bias.item(), 6)
        (3.0, 2.0)
    """

    full_state_update = False
    triangle: Tensor
    rows: Tensor

    def __init__(self, in_features: int, out_features: int, **options: Any) -> None:
        super().__init__(**options)
        self.in_features, self.out_features = in_features, out_features
        size = 1 + in_features + out_features
        self.add_state("triangle", torch.zeros(size, size, dtype=torch.float64), dist_reduce_fx=_merge)
        self.add_state("rows", torch.tensor(0), dist_reduce_fx="sum")

    def update(self, x: Tensor, y: Tensor) -> None:
        """Take in a block of rows.

        Args:
            x: Shape (rows, *in_shape) with in_features values a row; any dtype.
            y: Shape (rows, out_features).
        """
        for start in range(0, len(x), BLOCK_ROWS):
            block = slice(start, start + BLOCK_ROWS)
            x_block, y_block = x[block].flatten(1).to(self.triangle), y[block].to(self.triangle)
            rows = torch.cat([torch.ones_like(y_block[:, :1]), x_block, y_block], dim=1)
            self.triangle = _triangle(self.triangle, rows)
        self.rows += len(x)

    def compute(self) -> LeastSquaresFit:
        """Solve for the coefficients.

        Raises:
            ValueError: If no row was seen.
        """
        rows = int(self.rows)
        if rows == 0:
            raise ValueError("least squares needs at least one row")
        return LeastSquaresFit(self.triangle.cpu(), self.in_features, rows)


def _triangle(*blocks: Tensor) -> Tensor:
    """The factor R of blocks stacked on one another, square."""
    stacked = torch.cat(blocks)
    return torch.linalg.qr(stacked, mode="r").R[: stacked.shape[1]]


def _merge(triangles: Tensor) -> Tensor:
    """One factor R for the rows of all processes: (processes, size, size) -> (size, size)."""
    return _triangle(*triangles)


def _pseudo_inverse(design: Tensor, offsets: Tensor, rows: int) -> tuple[Tensor, Tensor]:
    """The pseudo-inverse (in, in) of the centred design's factor, and a basis (in, in - rank) of what it cannot tell.

    Rank is decided on columns scaled to length 1, so that units of measurement have no say in it; the solution of
    minimum norm is the one in the columns' own units, as in `numpy.linalg.lstsq`.
    """
    lengths = design.norm(dim=0)
    # A column that varies by no more than the rounding of its mean is constant.
    constant = lengths <= 4 * EPSILON * rows**0.5 * offsets.abs()
    scale = torch.where(constant, 1.0, lengths)
    u, singular, vt = torch.linalg.svd(torch.where(constant, 0.0, design / scale))
    rank = int((singular > 8 * EPSILON * len(design)).sum())
    inverse = (vt[:rank].T / singular[:rank] @ u[:, :rank].T) / scale[:, None]
    undetermined = torch.linalg.qr((vt[rank:] / scale).T).Q  # directions of the weights that change no prediction
    return inverse - undetermined @ (undetermined.T @ inverse), undetermined
