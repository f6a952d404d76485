"""Quantiles of Student's t distribution."""

import math

import numpy as np


def quantile(probability: float, freedom: int) -> float:
    """Return the quantile of a probability, from 0.5 to below 1, for any number of degrees of freedom, by bisection.

    With x = sqrt(freedom) tan(angle), the density is proportional to cos(angle)**(freedom - 1), which is smooth and
    integrated by Gauss-Legendre quadrature. Source: Abramowitz & Stegun (1964), 26.7.
    """
    nodes, weights = np.polynomial.legendre.leggauss(64)
    factor = math.exp(math.lgamma((freedom + 1) / 2) - math.lgamma(freedom / 2)) / math.sqrt(math.pi)
    low, high = 0.0, math.pi / 2
    for _ in range(60):
        angle = (low + high) / 2
        # The density is negligible beyond 40 standard deviations; the nodes should be within them.
        reach = min(angle, 40 / math.sqrt(freedom))
        angles = reach * (nodes + 1) / 2
        above_half = factor * reach / 2 * float(weights @ np.cos(angles) ** (freedom - 1))
        low, high = (angle, high) if 0.5 + above_half < probability else (low, angle)
    return math.sqrt(freedom) * math.tan(high)
