"""Least squares within a limit of time and memory, for results that are optional."""

import math
import time
from collections.abc import Iterable

from torch import Tensor

from project.least_squares.accumulator import BLOCK_ROWS, MAX_SQUARE_COLUMNS, LeastSquares
from project.least_squares.fit import LeastSquaresFit

# Seconds for each product that is summed in float64, for each product that is summed exactly, and for each step of an
# elimination, measured on a core with 24 billion float64 operations per second.
SECONDS_PER_PRODUCT, SECONDS_PER_EXACT_PRODUCT, SECONDS_PER_STEP = 8e-11, 8e-10, 1.2e-9
MAX_BYTES = 2**30


def fit_within(seconds: float, blocks: Iterable[tuple[Tensor, ...]], rows: int) -> LeastSquaresFit | None:
    """Fit blocks of rows, or return None if this would take too much time or memory.

    Args:
        seconds: Limit of time; with `math.inf`, there is no limit of memory either.
        blocks: Blocks of rows: x (n, *in_shape), y (n, out_features), and weights if the rows have any; at least one.
        rows: Number of all rows.
    """
    least_squares, start = None, time.monotonic()
    for block in blocks:
        for parts in zip(*(part.split(BLOCK_ROWS) for part in block), strict=True):
            x, y = parts[:2]
            if least_squares is None:
                needed, memory = cost(rows, x[0].numel(), y[0].numel())
                if math.isfinite(seconds) and (needed > seconds or memory > MAX_BYTES):
                    return None
                least_squares = LeastSquares(x[0].numel(), y[0].numel())
            least_squares.update(*parts)
            spent = time.monotonic() - start  # the estimate was a lower limit, since the time depends on the numbers
            if spent > seconds / 10 and spent * rows > seconds * least_squares.rows:
                return None
    assert least_squares is not None, "there is at least one row"
    return least_squares.compute()


def cost(rows: int, features: int, targets: int) -> tuple[float, float]:
    """Return estimates of the minimum time in seconds and of the memory in bytes that `LeastSquares` needs."""
    size = 1 + features + targets
    if features > MAX_SQUARE_COLUMNS and rows <= features:
        seconds = SECONDS_PER_EXACT_PRODUCT * rows**2 * size + SECONDS_PER_STEP * rows**3
        return seconds, 48 * rows * size + 200 * rows**2
    return SECONDS_PER_PRODUCT * rows * size**2 + SECONDS_PER_STEP * size**3, 200 * size**2
