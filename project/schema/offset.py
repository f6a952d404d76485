"""Offsets: round numbers to subtract from columns whose values are close to one another and far from zero.

float32 has seven significant digits, so 100,000,001.5 and 100,000,002.5 would become the same number.
"""

import math

import numpy as np
from numpy.typing import NDArray

MAX_SPREAD = 2.0**-10  # relative to the distance from zero; float32 resolves 1/10,000 of a larger spread


class Offset:
    """Choose the offset of a column. Call `partial_fit` on its blocks, then read `value`."""

    def __init__(self) -> None:
        self._lowest, self._highest = math.inf, -math.inf

    def partial_fit(self, values: NDArray[np.float64]) -> None:
        """Update the range with some of the numbers (n,); NaN, a missing value, is ignored."""
        self._lowest = min(self._lowest, float(np.fmin.reduce(values, initial=math.inf)))
        self._highest = max(self._highest, float(np.fmax.reduce(values, initial=-math.inf)))

    @property
    def value(self) -> float:
        """A round number near the middle of the range; 0 if float32 resolves the numbers without an offset.

        The difference of a number of the range and the offset has no rounding error in float64 (Sterbenz,
        "Floating-Point Computation", 1974).
        """
        spread, middle = self._highest - self._lowest, self._lowest / 2 + self._highest / 2
        if not 0 < spread < MAX_SPREAD * abs(middle):
            return 0.0
        return round(middle, -math.ceil(math.log10(spread)))
