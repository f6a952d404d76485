"""Quantiles of Student's t distribution."""

import math

import numpy as np


def quantile(probability: float, freedom: float) -> float:
    """The t that a probability of values lies below, by bisection; for half-widths of confidence intervals.

    With x = sqrt(freedom) tan(angle), the density is proportional to cos(angle)**(freedom - 1), which is smooth and
    integrated by Gauss and Legendre's rule. Source: Abramowitz & Stegun (1964), 26.7.

    Args:
        probability: At least 0.5 and below 1.
        freedom: Degrees of freedom, above 0; need not be whole.
    """
    nodes, weights = np.polynomial.legendre.leggauss(64)
    factor = math.exp(math.lgamma((freedom + 1) / 2) - math.lgamma(freedom / 2)) / math.sqrt(math.pi)
    low, high = 0.0, math.pi / 2
    for _ in range(60):
        angle = (low + high) / 2
        # Beyond 40 standard deviations there is nothing, and the rule needs its nodes where something is.
        reach = min(angle, 40 / math.sqrt(freedom))
        angles = reach * (nodes + 1) / 2
        above_half = factor * reach / 2 * float(weights @ np.cos(angles) ** (freedom - 1))
        low, high = (angle, high) if 0.5 + above_half < probability else (low, angle)
    return math.sqrt(freedom) * math.tan(high)
