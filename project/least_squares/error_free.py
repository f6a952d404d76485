"""Sums of products without rounding errors, in float64.

A number is represented as the unevaluated sum of three float64 parts, each the rounding error of the previous one:
about 159 bits. Methods: Dekker, "A Floating-Point Technique for Extending the Available Precision" (1971); Ogita,
Rump & Oishi, "Accurate Sum and Dot Product" (2005); Ozaki, Ogita, Oishi & Rump, "Error-free transformations of matrix
multiplication by using fast routines of matrix multiplication" (2012).
"""

import math

import torch
from torch import Tensor

PARTS = 3
MAX_SLICES = 8


def add(parts: Tensor, term: Tensor) -> Tensor:
    """Add a term (*shape) to a number in parts (3, *shape) -> (3, *shape)."""
    sums = []
    for part in parts:
        total = part + term
        added = total - part
        term = (part - (total - added)) + (term - added)  # the exact rounding error
        sums.append(total)
    return torch.stack(sums)


def gram(rows: Tensor, parts: Tensor) -> Tensor:
    """Add the Gram matrix rows.T @ rows to a sum in parts.

    Columns are cut into slices of few bits, so that the product of two slices, summed over all rows, is exact in
    float64, whatever the order of summation: rows (n, columns), parts (3, columns, columns) -> the shape of parts.
    """
    slices = _slices(rows, bits=(53 - math.ceil(math.log2(max(len(rows), 2)))) // 2)
    for i, left in enumerate(slices):
        parts = add(parts, left.T @ left)
        for right in slices[i + 1 :]:
            product = left.T @ right
            parts = add(add(parts, product), product.T)
    return parts


def _slices(rows: Tensor, bits: int) -> list[Tensor]:
    """Return matrices that sum to rows (n, columns), with at most `bits` bits below the largest number of a column."""
    slices: list[Tensor] = []
    while rows.any() and len(slices) < MAX_SLICES:
        unit = torch.ldexp(torch.ones_like(rows[0]), torch.frexp(rows.abs().amax(0)).exponent - bits)
        rounder = 1.5 * 2.0**52 * unit  # a float64 of this size is a multiple of `unit`
        slices.append((rows + rounder) - rounder)
        rows = rows - slices[-1]
    return slices


def matmul(parts: Tensor, vector: Tensor) -> Tensor:
    """Multiply a matrix in parts by a vector, in two parts: (parts, rows, columns), (columns,) -> (2, rows)."""
    product = parts * vector
    terms = torch.cat([product, _low(parts, vector, product)])  # (2 * parts, rows, columns)
    rows = terms.permute(1, 0, 2).flatten(1).tolist()
    high = [math.fsum(row) for row in rows]
    low = [math.fsum([*row, -total]) for row, total in zip(rows, high, strict=True)]
    return torch.tensor([high, low], dtype=torch.float64)


def _low(a: Tensor, b: Tensor, product: Tensor) -> Tensor:
    """Return the exact rounding error a * b - product (Dekker)."""
    (a_high, a_low), (b_high, b_low) = _halves(a), _halves(b)
    return a_low * b_low - (((product - a_high * b_high) - a_low * b_high) - a_high * b_low)


def _halves(a: Tensor) -> tuple[Tensor, Tensor]:
    """Split a into the sum of two numbers of 26 bits (Veltkamp)."""
    scaled = a * (2.0**27 + 1)
    high = scaled - (scaled - a)
    return high, a - high
