"""Arithmetic in about 159 bits, on float64 tensors.

A number is represented as the unevaluated sum of three float64 parts, each the rounding error of the previous one.
Methods: Dekker, "A Floating-Point Technique for Extending the Available Precision" (1971); Ogita, Rump & Oishi,
"Accurate Sum and Dot Product" (2005); Ozaki, Ogita, Oishi & Rump, "Error-free transformations of matrix multiplication
by using fast routines of matrix multiplication" (2012).
"""

import math
from fractions import Fraction

import torch
from torch import Tensor

PARTS = 3
MAX_SLICES = 8


def zeros(*shape: int) -> Tensor:
    """Return zeros in parts: (3, *shape)."""
    return torch.zeros(PARTS, *shape, dtype=torch.float64)


def total(parts: Tensor) -> Tensor:
    """Round numbers in parts to float64: (parts, *shape) -> (*shape)."""
    return parts.flip(0).sum(0)


def add(parts: Tensor, *terms: Tensor) -> Tensor:
    """Add terms (*shape) to a number in parts (3, *shape) -> (3, *shape)."""
    for term in terms:
        sums = []
        for part in parts:
            rounded = part + term
            added = rounded - part
            term = (part - (rounded - added)) + (term - added)  # the exact rounding error
            sums.append(rounded)
        parts = torch.stack(sums)
    return parts


def subtract(parts: Tensor, other: Tensor) -> Tensor:
    """Subtract a number in parts from another of the same shape."""
    # If leading digits cancel, the parts are no longer rounding errors of each other: they are summed once more.
    return add(torch.zeros_like(parts), *add(parts, *(-other)))


def multiply(left: Tensor, right: Tensor) -> Tensor:
    """Multiply numbers in parts, elementwise with broadcasting: (parts, *shape), (parts, *shape) -> (3, *shape)."""
    result = torch.zeros_like(left[0] * right[0]).expand(PARTS, *[-1] * (left.ndim - 1))
    for order in range(PARTS):  # from large to small
        for i in range(order + 1):
            a, b = left[i : i + 1], right[order - i : order - i + 1]
            if len(a) and len(b) and a.any() and b.any():
                product = a[0] * b[0]
                result = add(result, product, _low(a[0], b[0], product))
    return result


def reciprocal(parts: Tensor) -> Tensor:
    """Return 1 / number for one number in parts (3,)."""
    rest = 1 / sum(map(Fraction, parts.tolist()), Fraction(0))
    inverse = []
    for _ in range(PARTS):
        inverse.append(float(rest))
        rest -= Fraction(inverse[-1])
    return parts.new_tensor(inverse)


def matmul(left: Tensor, right: Tensor) -> Tensor:
    """Multiply matrices in parts: (parts, m, n), (parts, n, k) -> (3, m, k)."""
    bits = _bits(right.shape[1])
    result = zeros(left.shape[1], right.shape[2])
    rights = [piece for part in right for piece in _slices(part, bits)]
    for part in left:
        for piece in _slices(part.T, bits):
            result = add(result, *(piece.T @ other for other in rights))
    return result


def gram(rows: Tensor, parts: Tensor) -> Tensor:
    """Add the Gram matrix rows.T @ rows to a sum in parts: rows (n, columns), parts (3, columns, columns)."""
    slices = _slices(rows, _bits(len(rows)))
    for i, left in enumerate(slices):
        parts = add(parts, left.T @ left)
        for right in slices[i + 1 :]:
            product = left.T @ right
            parts = add(parts, product, product.T)
    return parts


def _bits(terms: int) -> int:
    """Return how many bits two factors may have, so that a sum of so many of their products is exact in float64."""
    return (53 - math.ceil(math.log2(max(terms, 2)))) // 2


def _slices(rows: Tensor, bits: int) -> list[Tensor]:
    """Return matrices that sum to rows (n, columns), with at most `bits` bits below the largest number of a column.

    The product of two such slices is exact in float64, whatever the order of summation.
    """
    slices: list[Tensor] = []
    while rows.any() and len(slices) < MAX_SLICES:
        unit = torch.ldexp(torch.ones_like(rows[0]), torch.frexp(rows.abs().amax(0)).exponent - bits)
        rounder = 1.5 * 2.0**52 * unit  # a float64 of this size is a multiple of `unit`
        slices.append((rows + rounder) - rounder)
        rows = rows - slices[-1]
    return slices


def _low(a: Tensor, b: Tensor, product: Tensor) -> Tensor:
    """Return the exact rounding error a * b - product (Dekker)."""
    (a_high, a_low), (b_high, b_low) = _halves(a), _halves(b)
    return a_low * b_low - (((product - a_high * b_high) - a_low * b_high) - a_high * b_low)


def _halves(a: Tensor) -> tuple[Tensor, Tensor]:
    """Split a into the sum of two numbers of 26 bits (Veltkamp)."""
    scaled = a * (2.0**27 + 1)
    high = scaled - (scaled - a)
    return high, a - high
