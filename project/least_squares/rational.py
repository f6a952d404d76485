"""Solve linear equations in rational numbers, for matrices that float64 cannot factorise."""

from fractions import Fraction

import torch
from torch import Tensor


def solve(parts: Tensor, unknowns: int) -> tuple[Tensor, Tensor]:
    """Solve A X = B by Gauss-Jordan elimination without rounding, A positive semidefinite.

    `parts` (parts, size, size) sum to [[A, B], [B', C]], with A of `unknowns` rows and columns; the time grows faster
    than the third power of `unknowns`.

    Returns:
        A^-1 B, shape (unknowns, size - unknowns), and A^-1, (unknowns, unknowns); each number is rounded once.

    Raises:
        ZeroDivisionError: If A is singular.
    """
    numbers = parts[:, :unknowns].permute(1, 2, 0).tolist()
    identity = torch.eye(unknowns).tolist()
    rows = [
        [*(sum(map(Fraction, number), Fraction(0)) for number in row), *map(Fraction, ones)]
        for row, ones in zip(numbers, identity, strict=True)
    ]
    for index, pivots in enumerate(rows):
        pivots[:] = [number / pivots[index] for number in pivots]
        for row in rows:
            if row is not pivots and row[index]:
                row[:] = [a - row[index] * b for a, b in zip(row, pivots, strict=True)]
    solution = torch.tensor([[float(number) for number in row[unknowns:]] for row in rows], dtype=torch.float64)
    return solution[:, :-unknowns], solution[:, -unknowns:]
