"""Arithmetic in about 159 bits, on float64 tensors.

A number is represented as the unevaluated sum of three float64 parts, each the rounding error of the previous one.
Methods: Dekker, "A Floating-Point Technique for Extending the Available Precision" (1971); Ogita, Rump & Oishi,
"Accurate Sum and Dot Product" (2005); Ozaki, Ogita, Oishi & Rump, "Error-free transformations of matrix multiplication
by using fast routines of matrix multiplication" (2012).
"""

import math
from fractions import Fraction

import numpy as np
import torch
from torch import Tensor

PARTS = 3
MAX_STACKED = 128  # columns whose slices are multiplied in one call
MAX_SLICES = 9  # of 16 bits or more
MIN_NUMBERS = 2**17  # numbers in one operation, enough to hide the overhead of calls
MAX_NUMBERS = 2**23  # numbers in one operation, to limit the memory of copies
# Multiplications in one native call, which then takes much less than a second: signals are handled between calls.
CALL_WORK = 4e9


def zeros(*shape: int) -> Tensor:
    """Return zeros in parts: (3, *shape)."""
    return torch.zeros(PARTS, *shape, dtype=torch.float64)


def total(parts: Tensor) -> Tensor:
    """Round numbers in parts to float64: (parts, *shape) -> (*shape)."""
    return parts.flip(0).sum(0)


def add(parts: Tensor, *terms: Tensor) -> Tensor:
    """Add terms (*shape) to numbers in parts (3, *shape) -> (3, *shape)."""
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
    """Subtract numbers in parts of the same shape."""
    # If leading digits cancel, the parts are no longer rounding errors of each other, so they are added once more.
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
    """Return 1 / number for a single number in parts (3,)."""
    rest = 1 / sum(map(Fraction, parts.tolist()), Fraction(0))
    inverse = []
    for _ in range(PARTS):
        inverse.append(float(rest))
        rest -= Fraction(inverse[-1])
    return parts.new_tensor(inverse)


def rounded_matmul(left: Tensor, right: Tensor) -> Tensor:
    """Multiply float64 matrices (m, n), (n, k) -> (m, k) with rounding errors, in short native calls."""
    return torch.cat([part @ right for part in left.split(max(1, int(CALL_WORK / max(right.numel(), 1))))])


def matmul(left: Tensor, right: Tensor) -> Tensor:
    """Multiply matrices in parts: (parts, m, n), (parts, n, k) -> (3, m, k)."""
    bits = _bits(right.shape[1])
    slices = _slices(right, bits)
    if not slices:
        return zeros(left.shape[1], right.shape[2])
    rights, blocks = torch.cat(slices, dim=1).T, []
    for block in left.split(max(1, MIN_NUMBERS // right.shape[1]), dim=1):
        sums = torch.zeros(MAX_SLICES, block.shape[1], right.shape[2], dtype=torch.float64)
        for number, piece in enumerate(_slices(block.mT, bits)):
            products = rights[: (MAX_SLICES - number) * right.shape[2]] @ piece
            for order, product in enumerate(products.split(right.shape[2]), start=number):
                sums[order] += product.T
        blocks.append(add(zeros(*sums.shape[1:]), *sums))
    return torch.cat(blocks, dim=1)


def with_ones(x: Tensor, y: Tensor, factors: Tensor | None = None) -> Tensor:
    """Return the columns [1, x, y], times a factor for each row (rows,), in parts (any, rows, columns)."""
    columns = torch.cat([y.new_ones(len(y), 1, dtype=torch.float64), x, y], dim=1)[None]
    return columns if factors is None else multiply(columns, factors[None, :, None])


def rows_at_once(columns: int) -> int:
    """Return how many rows to pass to `add_gram` at once, so that it is fast but does not need much memory."""
    return max(1, MIN_NUMBERS // columns, min(8 * columns, MAX_NUMBERS // columns))


def add_gram(parts: Tensor, rows: Tensor) -> None:
    """Add the Gram matrix rows.T @ rows to a sum in parts (3, columns, columns), in place.

    The rows (n, columns) may be in parts, too: (any, n, columns).
    """
    rows = rows if rows.ndim > 2 else rows[None]
    slices, (count, columns) = _slices(rows, _bits(rows.shape[1])), rows.shape[1:]
    if columns <= MAX_STACKED and count * columns**2 < CALL_WORK / MAX_SLICES**2:
        parts[:] = add(parts, *_orders(slices))
        return
    width = min(max(1, int(CALL_WORK / max(count * columns, 1))), columns)
    for start in range(0, columns, width):
        panel = slice(start, start + width)
        above = parts[:, panel, start:].clone()
        for order in range(min(2 * len(slices) - 1, MAX_SLICES)):
            products = torch.zeros_like(above[0])
            for first in range(max(0, order - len(slices) + 1), order // 2 + 1):
                left, right = slices[first], slices[order - first]
                product = left[:, panel].T @ right[:, start:]
                products += product
                if left is not right:
                    products += product.T if width == columns else right[:, panel].T @ left[:, start:]
            above = add(above, products)
        parts[:, panel, start:], parts[:, start:, panel] = above, above.mT


def _orders(slices: list[Tensor]) -> list[Tensor]:
    """Return, for the numbers of two slices that add up to 0, 1, …, the sum of the products of all such pairs."""
    count, columns = len(slices), slices[0].shape[1] if slices else 0
    stacked = torch.cat(slices, dim=1).numpy() if slices else np.empty((0, 0))
    # NumPy computes half of it, since the other half is the same.
    products = torch.from_numpy(stacked.T @ stacked).view(count, columns, count, columns)
    pairs = [range(max(0, order - count + 1), min(order + 1, count)) for order in range(2 * count - 1)]
    return [torch.stack([products[k, :, o - k] for k in pair]).sum(0) for o, pair in enumerate(pairs[:MAX_SLICES])]


def _bits(terms: int) -> int:
    """Return how many bits two factors may have so that a sum of `MAX_SLICES` * `terms` products is exact."""
    return (53 - 2 - math.ceil(math.log2(MAX_SLICES * max(terms, 1)))) // 2


def _slices(parts: Tensor, bits: int) -> list[Tensor]:
    """Split a matrix in parts (parts, n, columns) into a sum of matrices (n, columns), the slices.

    The first slice has the leading `bits` bits of each column, relative to its largest number, the next slice the
    following bits, and so on. Products of slices whose indices have the same sum are multiples of one unit, so they can
    be added exactly.
    """
    slices: list[Tensor] = []
    rest = parts.clone()
    unit = torch.ldexp(torch.ones_like(rest[0, 0]), torch.frexp(rest.abs().amax((0, 1))).exponent - bits)
    while len(slices) < MAX_SLICES and rest.count_nonzero():  # faster than `any`
        rounder = 1.5 * 2.0**52 * unit  # a float64 of this size is a multiple of `unit`
        piece = (rest + rounder).sub_(rounder)
        rest -= piece
        slices.append(piece.sum(0) if len(piece) > 1 else piece[0])
        unit = unit * 2.0**-bits
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
