"""Quantiles of Student's t distribution."""

import math

import numpy as np

LARGE = 200  # for larger arguments, four terms of a series are exact to 15 digits
SMOOTH = 8  # with more degrees of freedom, the density is smooth up to the end of the range


def quantile(probability: float, freedom: float) -> float:
    """Return the quantile of a probability from 0.5 to below 1, for 0.5 or more degrees of freedom.

    With x = sqrt(freedom) tan(angle), the density is proportional to cos(angle)**(freedom - 1), which is integrated by
    Gauss-Legendre quadrature. The quantile is found by bisection. Source: Abramowitz & Stegun (1964), 26.7.
    """
    nodes, weights = np.polynomial.legendre.leggauss(64)
    nodes = (nodes + 1) / 2
    factor = _gamma_ratio(freedom / 2) / math.sqrt(math.pi)
    low, high = 0.0, math.pi / 2
    for _ in range(60):
        angle = (low + high) / 2
        if freedom > SMOOTH:
            # The density is negligible beyond 40 standard deviations, so the nodes are placed within them.
            reach = min(angle, 40 / math.sqrt(freedom))
            logarithms = np.log1p(-(np.sin(reach * nodes) ** 2)) / 2  # a power of the cosine itself would lose digits
            share = 0.5 + factor * reach / 2 * float(weights @ np.exp((freedom - 1) * logarithms))
        else:  # integrate from the other end, where the density is not smooth; with angle = pi / 2 - v**8, it is
            reach = (math.pi / 2 - angle) ** (1 / 8)
            v = reach * nodes
            share = 1 - factor * reach / 2 * float(weights @ (8 * v**7 * np.sin(v**8) ** (freedom - 1)))
        low, high = (angle, high) if share < probability else (low, angle)
    return math.sqrt(freedom) * math.tan(high)


def _gamma_ratio(x: float) -> float:
    """Return gamma(x + 1/2) / gamma(x). For large x, where logarithms cancel: Tricomi & Erdélyi (1951)."""
    if x < LARGE:
        return math.exp(math.lgamma(x + 0.5) - math.lgamma(x))
    return math.sqrt(x) * (1 - 1 / (8 * x) + 1 / (128 * x**2) + 5 / (1024 * x**3) - 21 / (32768 * x**4))
