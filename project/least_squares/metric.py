"""Least squares as a torchmetrics metric: one pass over the rows, in memory that does not grow with their number.

The rows are summarised by square matrices of (1 + features + targets)^2 numbers:

- the triangular factor R of a QR decomposition, from which rank and standard errors follow. Unlike forming X'X,
  orthogonal triangularisation does not square the condition number.
- the products X'X and X'y without rounding errors, for refining the solution from R.

A well conditioned block of rows is first compressed to a triangle, the Cholesky factor of its X'X, which is several
times faster and loses no digits. Only the block's own condition matters: the error is small relative to the block's
own X'X, and other rows only add to that.

Methods: Golub & Van Loan, *Matrix Computations*, 4th ed., sections 5.3 (least squares by QR), 6.5.3 (adding rows).
"""

from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric

from project.least_squares import error_free
from project.least_squares.fit import LeastSquaresFit, triangle_of

BLOCK_ROWS = 16_384
# A block is compressed if the inverse of its scaled columns' products has at most this trace, which bounds the
# condition, and its columns' means are within this many standard deviations of zero.
MAX_TRACE = 1e4
MAX_OFFSET = 256.0
SHIFT_ROWS = 64


class LeastSquares(Metric):
    """Exact least squares over all rows passed to `update`, on any number of processes.

    Args:
        in_features: Columns of x.
        out_features: Columns of y.
        **options: Options of `torchmetrics.Metric`, such as `sync_on_compute=False` if each process has seen all rows.

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
    compressed: Tensor
    products: Tensor
    rows: Tensor

    def __init__(self, in_features: int, out_features: int, **options: Any) -> None:
        super().__init__(**options)
        self.in_features, self.out_features = in_features, out_features
        size = 1 + in_features + out_features
        for state in ("triangle", "compressed"):
            self.add_state(state, torch.zeros(size, size, dtype=torch.float64), dist_reduce_fx=_merge_triangles)
        products = torch.zeros(error_free.PARTS, size, size, dtype=torch.float64)
        self.add_state("products", products, dist_reduce_fx=_merge_products)
        self.add_state("rows", torch.tensor(0), dist_reduce_fx="sum")

    def update(self, x: Tensor, y: Tensor) -> None:
        """Add a block of rows.

        Args:
            x: Shape (rows, *in_shape) with in_features values per row; any dtype, magnitudes from 1e-140 to 1e140.
            y: Shape (rows, out_features).
        """
        x, y = (part.to(torch.uint8) if part.dtype == torch.bool else part for part in (x.flatten(1), y))
        if x.shape[1:] != (self.in_features,) or y.shape != (len(x), self.out_features):
            shapes = f"(rows, {self.in_features}) and (rows, {self.out_features})"
            raise ValueError(f"x and y must have shapes {shapes}, got {tuple(x.shape)} and {tuple(y.shape)}")
        for start in range(0, len(x), BLOCK_ROWS):
            columns = [part[start : start + BLOCK_ROWS].to(self.triangle.device) for part in (x, y)]
            compressed = _compressed(*columns)
            if compressed is not None:
                self.compressed = triangle_of(self.compressed, compressed)
                continue
            ones = self.triangle.new_ones(len(columns[1]), 1)
            rows = torch.cat([ones, *columns], dim=1)  # float64, the dtype of ones
            if not rows.isfinite().all():
                raise ValueError("least squares needs finite values")
            self.triangle = triangle_of(self.triangle, rows)
            self.products = error_free.gram(rows, self.products)
        self.rows += len(x)

    def compute(self) -> LeastSquaresFit:
        """Solve for the coefficients."""
        rows = int(self.rows)
        if rows == 0:
            raise ValueError("least squares needs at least one row")
        compressed = self.compressed.cpu()
        products = error_free.gram(compressed, self.products.cpu())
        return LeastSquaresFit(triangle_of(self.triangle.cpu(), compressed), products, self.in_features, rows)


def _compressed(x: Tensor, y: Tensor) -> Tensor | None:
    """Return the triangle of a block [1, x, y] of rows, by Cholesky; None if that would lose digits."""
    shift = torch.cat([part[:SHIFT_ROWS].double().mean(0) for part in (x, y)])
    centred = torch.empty(len(x), 1 + len(shift), dtype=torch.float64, device=x.device)
    centred[:, 0] = 1
    torch.sub(x, shift[: x.shape[1]], out=centred[:, 1 : 1 + x.shape[1]])
    torch.sub(y, shift[x.shape[1] :], out=centred[:, 1 + x.shape[1] :])
    products = centred.T @ centred
    lengths = products.diagonal().sqrt()
    if not ((lengths[1:] > 0) & (shift.abs() * len(x) ** 0.5 <= MAX_OFFSET * lengths[1:])).all():
        return None
    factor, failed = torch.linalg.cholesky_ex(products / lengths / lengths[:, None])
    if failed or torch.cholesky_inverse(factor).trace() > MAX_TRACE:
        return None
    compressed = factor.T * lengths
    # The block is `centred` times the identity matrix with `shift` in its first row.
    compressed[0, 1:] += compressed[0, 0] * shift
    return compressed


def _merge_triangles(triangles: Tensor) -> Tensor:
    """Merge the factors R of all processes: (processes, size, size) -> (size, size)."""
    return triangle_of(*triangles)


def _merge_products(products: Tensor) -> Tensor:
    """Sum over all processes: (processes, 3, size, size) -> (3, size, size)."""
    merged = products[0]
    for part in products[1:].flatten(0, 1):
        merged = error_free.add(merged, part)
    return merged
