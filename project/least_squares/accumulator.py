"""Least squares in one pass over the rows, in memory that does not grow with their number.

The rows are summarised by the products of the columns [1, x, y] in about 159 bits. The result is therefore as exact as
float64 allows, and depends neither on the order of the rows nor on their division into blocks. With many columns and
fewer rows than columns, the rows themselves are kept instead.

A large block of well conditioned rows is summed in float64, which is several times faster. Its rounding errors are
small relative to any combination of the columns in this block, and further rows only add to it.
"""

from concurrent.futures import ThreadPoolExecutor
from functools import cache
from itertools import repeat

import numpy as np
import torch
from threadpoolctl import ThreadpoolController
from torch import Tensor

from project.least_squares import error_free
from project.least_squares.error_free import CALL_WORK, with_ones
from project.least_squares.fit import LeastSquaresFit
from project.least_squares.normal import NormalEquations
from project.least_squares.wide import WideRows

BLOCK_ROWS = 65_536
# With more columns, rows are kept as long as there are fewer rows than columns.
MAX_SQUARE_COLUMNS = 512
# A block is summed in float64 if it has MIN_FAST_ROWS or more, and the trace of the inverse of its correlations, which
# bounds their condition number, is at most MAX_TRACE.
MIN_FAST_ROWS = 2_048
MAX_FAST_COLUMNS = 2_048
MAX_TRACE = 1e4
SHIFT_ROWS = 64
PIECE_ROWS = 8_192  # that one thread takes
CACHED_ROWS = 1_024  # at a time, so that their copies stay in the cache


class LeastSquares:
    """Exact least squares over all rows passed to `update`.

    With p = 1 + in_features + out_features columns, `update` keeps 24 p² bytes, and `compute` needs up to 200 p² bytes.
    With more than 512 columns and fewer rows than columns, p is the number of rows instead. Both return to Python at
    least once a second, so that signals are handled.

    Args:
        in_features: Columns of x.
        out_features: Columns of y.

    Example:
        >>> import torch
        >>> least_squares = LeastSquares(1, 1)
        >>> x = torch.tensor([[0.0], [1.0], [2.0]])
        >>> least_squares.update(x, 3 * x + 2)
        >>> fit = least_squares.compute()
        >>> round(fit.weights.item(), 6), round(fit.bias.item(), 6)
        (3.0, 2.0)
    """

    def __init__(self, in_features: int, out_features: int) -> None:
        self.in_features, self.out_features, self.rows = in_features, out_features, 0
        self._products: Tensor | None = None
        self._kept: list[tuple[Tensor, Tensor, Tensor | None]] = []

    def update(self, x: Tensor, y: Tensor, weights: Tensor | None = None) -> None:
        """Add a block of rows.

        Args:
            x: Shape (rows, *in_shape) with in_features values per row, any dtype, magnitudes from 1e-140 to 1e140.
            y: Shape (rows, out_features).
            weights: Factors of the squared errors, one for each row. Rows with weight 0 are ignored.

        Raises:
            ValueError: If the shapes are wrong, a value is not finite, or a weight is negative.
        """
        if x.shape[1:].numel() != self.in_features or y.shape != (len(x), self.out_features):
            shapes = f"(rows, {self.in_features}) and (rows, {self.out_features})"
            raise ValueError(f"x and y must have shapes {shapes}, got {tuple(x.shape)} and {tuple(y.shape)}")
        if weights is not None and not weights.all():
            x, y, weights = (part[weights.flatten() != 0] for part in (x, y, weights.flatten()))
        blocks = repeat(None) if weights is None else weights.flatten().cpu().double().split(BLOCK_ROWS)
        for part, targets, each in zip(x.split(BLOCK_ROWS), y.split(BLOCK_ROWS), blocks, strict=False):
            if len(part):  # not if all weights of a block are 0
                self._add(_as_number(part), _as_number(targets), each)

    def compute(self) -> LeastSquaresFit:
        """Solve for the coefficients.

        Raises:
            ValueError: If there are no rows.
        """
        if self.rows == 0:
            raise ValueError("least squares needs at least one row")
        no_penalty = torch.zeros(self.in_features, dtype=torch.float64)
        if self._products is None:
            parts = [(x, y, x.new_ones(len(x)) if weights is None else weights) for x, y, weights in self._kept]
            return WideRows(*(torch.cat(each) for each in zip(*parts, strict=True))).solve(no_penalty)
        return NormalEquations(self._products, self.in_features, self.rows).solve(no_penalty)

    def _add(self, x: Tensor, y: Tensor, weights: Tensor | None) -> None:
        x, y, size = x.flatten(1).cpu(), y.cpu(), 1 + self.in_features + self.out_features
        self.rows += len(x)
        if self._products is None and self.in_features > MAX_SQUARE_COLUMNS and self.rows <= self.in_features:
            _check_finite(x, y, *([] if weights is None else [weights.sqrt()]))
            self._kept.append((x.double().clone(), y.double().clone(), weights))
            return
        products = error_free.zeros(size, size) if self._products is None else self._products
        for part, targets, each in (*self._kept, (x, y, weights)):
            block = part, targets, None if each is None else each.sqrt()
            fast = _add_fast(products, *block)
            if fast is None:
                _add_exactly(products, *block)
            products = products if fast is None else fast
        self._products, self._kept = products, []


def _as_number(values: Tensor) -> Tensor:
    return values.to(torch.uint8) if values.dtype == torch.bool else values


def _check_finite(*parts: Tensor) -> None:
    if not all(part.isfinite().all() for part in parts):
        raise ValueError("least squares needs finite values, and weights of 0 or more")


def _add_exactly(products: Tensor, x: Tensor, y: Tensor, roots: Tensor | None) -> None:
    """Add the products of a block of rows to products in parts, in place, without rounding errors.

    The rows are multiplied by `roots` (rows,), the square roots of their weights.
    """
    _check_finite(x, y, *([] if roots is None else [roots]))
    size = products.shape[1]
    rows = error_free.rows_at_once(size)
    factors = repeat(None) if roots is None else roots.split(rows)
    for part, targets, factor in zip(x.split(rows), y.split(rows), factors, strict=False):
        error_free.add_gram(products, with_ones(part, targets, factor))


def _add_fast(products: Tensor, x: Tensor, y: Tensor, roots: Tensor | None) -> Tensor | None:
    """Return products in parts plus those of a block of rows, summed in float64; None if that would lose digits."""
    size = products.shape[1]
    if len(x) < max(MIN_FAST_ROWS, 2 * size) or size > MAX_FAST_COLUMNS:
        return None
    means = torch.cat([part[:SHIFT_ROWS].double().mean(0) for part in (x, y)])
    shift = torch.cat([means.new_zeros(1), means]).float().double()  # has few bits, so that most differences are exact
    shifted = _gram(x, y, shift, roots)
    lengths = shifted.diagonal().sqrt()
    factor, failed = torch.linalg.cholesky_ex(shifted / lengths / lengths[:, None])
    if failed or not torch.cholesky_inverse(factor).trace() <= MAX_TRACE:  # also if a value is not finite
        return None
    # The columns are the shifted ones plus `shift` in each row.
    half = error_free.multiply(shift[None], shifted[:1, :1] / 2)  # half of what the shift adds to the products
    sums = error_free.add(torch.zeros_like(products[:, 0]), shifted[0], *half)
    moved = error_free.multiply(shift[None, :, None], sums[:, None])
    return error_free.add(products, shifted, *moved, *moved.mT)


def _gram(x: Tensor, y: Tensor, shift: Tensor, roots: Tensor | None) -> Tensor:
    """Return the products of the columns [1, x, y] minus a shift of each, times `roots`, summed in float64.

    Each thread sums whole pieces of rows, and the sums are added in the order of the rows, so the result does not
    depend on the number of threads. Threads do not wait for each other within a piece, which would take a hundred times
    as long if another program occupies a core.
    """
    features, targets = (part.float() if part.dtype == torch.bfloat16 else part for part in (x, y))
    factors = repeat(None) if roots is None else [part.numpy()[:, None] for part in roots.split(PIECE_ROWS)]
    pieces = features.split(PIECE_ROWS), targets.split(PIECE_ROWS), factors
    with _thread_pools().limit(limits=1, user_api="blas"), ThreadPoolExecutor(torch.get_num_threads()) as threads:
        sums = threads.map(lambda x, y, roots: _gram_of_piece(x.numpy(), y.numpy(), shift.numpy(), roots), *pieces)
        return torch.from_numpy(sum(sums, np.zeros((len(shift), len(shift)))))


def _gram_of_piece(x: np.ndarray, y: np.ndarray, shift: np.ndarray, roots: np.ndarray | None) -> np.ndarray:
    """Return the products that `_gram` sums for the rows of one thread, in parts that fit into its cache."""
    size, width = len(shift), 1 + x.shape[1]
    rows = min(CACHED_ROWS, max(1, int(CALL_WORK / size**2)))
    products, buffer = np.zeros((size, size)), np.empty((rows, size))
    for start in range(0, len(x), rows):
        columns = buffer[: len(x) - start]
        columns[:, 0] = 1 - shift[0]
        np.subtract(x[start : start + rows], shift[1:width], out=columns[:, 1:width])
        np.subtract(y[start : start + rows], shift[width:], out=columns[:, width:])
        if roots is not None:
            columns *= roots[start : start + rows]
        products += columns.T @ columns  # NumPy uses the symmetry and computes only half of it
    return products


@cache
def _thread_pools() -> ThreadpoolController:
    """Return the thread pools of the loaded libraries, cached because finding them is slow."""
    return ThreadpoolController()
