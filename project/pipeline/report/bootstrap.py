"""How sure a mean over test rows is.

Source: Efron, "Bootstrap Methods: Another Look at the Jackknife" (1979); the percentile interval, Efron & Tibshirani,
"An Introduction to the Bootstrap" (1993), section 13.3.
"""

import numpy as np
from numpy.typing import NDArray

RESAMPLES, SEED, LEVEL = 1_000, 0, 95


def interval(values: NDArray[np.float64]) -> tuple[float, float]:
    """Ends of the 95 % percentile interval of a mean.

    Args:
        values: One a row, shape (rows,).
    """
    rng, rows = np.random.default_rng(SEED), len(values)
    means = [values[rng.integers(rows, size=rows)].mean() for _ in range(RESAMPLES)]
    low, high = np.percentile(means, [(100 - LEVEL) / 2, (100 + LEVEL) / 2])
    return float(low), float(high)
