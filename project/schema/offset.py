"""A round number to subtract from numbers that lie close to one another and far from zero.

Float32 holds seven digits: of 100,000,001.5 and 100,000,002.5 it would make the same number.
"""

import math

import numpy as np
from numpy.typing import NDArray

MAX_SPREAD = 2.0**-10  # of the distance from zero: float32 resolves a ten thousandth of a larger spread


class Offset:
    """Sees numbers block by block, and then chooses what to subtract from them."""

    def __init__(self) -> None:
        self._lowest, self._highest = math.inf, -math.inf

    def partial_fit(self, values: NDArray[np.float64]) -> None:
        """See some of the numbers (any,); missing ones, NaN, do not count."""
        self._lowest = min(self._lowest, float(np.fmin.reduce(values, initial=math.inf)))
        self._highest = max(self._highest, float(np.fmax.reduce(values, initial=-math.inf)))

    @property
    def value(self) -> float:
        """A round number near those seen, or 0 where float32 holds them as they are.

        Its difference from any of them has no rounding error in float64 (Sterbenz, "Floating-Point Computation", 1974).
        """
        spread, middle = self._highest - self._lowest, self._lowest / 2 + self._highest / 2
        if not 0 < spread < MAX_SPREAD * abs(middle):
            return 0.0
        return round(middle, -math.ceil(math.log10(spread)))
