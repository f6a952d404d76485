"""Solution of the normal equations of columns [1, x] and y in about 159 bits, with the rank of the columns.

The products of the columns have the same precision, so the rank does not depend on a rounded factorisation, the order
of the rows, blocks or threads.

Columns that are independent in float64 are eliminated together: a Cholesky factorisation in float64 solves their
equations, and iterative refinement adds the missing bits. The other columns are eliminated one by one. Each step
chooses the column that is farthest from a combination of the eliminated columns, until only combinations are left.

Methods: Goodnight, "A Tutorial on the SWEEP Operator" (1979); Golub & Van Loan, *Matrix Computations*, 4th ed.,
sections 3.5.3 (iterative refinement) and 4.2.8 (diagonal pivoting).
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from project.least_squares import error_free
from project.least_squares.error_free import add, matmul, multiply, reciprocal, subtract, total

# A column is a combination of others if its remainder is no larger than this relative error of the numbers in the
# combination. The values in rows have relative errors of 1.1e-16, or a few times that if they were computed.
TOLERANCE = 2.0**-46  # 1.4e-14
# Columns are eliminated together if at least this fraction of their squared lengths remains after the others.
MIN_LEFT = 1e-4
MAX_REFINEMENTS = 16
REFINED = 2.0**-135
BLOCK_COLUMNS = 128


@dataclass
class Elimination:
    """The result of `eliminate`, in the units of the columns. The "kept" columns are independent of each other.

    Attributes:
        coefficients: Least squares coefficients of y on [1, x] in parts, (3, 1 + in, out); 0 for other columns.
        inverse: Inverse of the products of the kept columns, (1 + in, 1 + in); 0 for other columns.
        factor: A matrix with factor.T @ factor equal to the products of [1, x], (kept, 1 + in).
        kept: Whether each column of [1, x] is kept, (1 + in,).
        null: A basis of the null space of [1, x] in parts, (3, 1 + in, 1 + in - kept). Each vector is the combination
            of kept columns that equals another column, minus that column.
        squared_error: Sums of squared residuals, (out,).
    """

    coefficients: Tensor
    inverse: Tensor
    factor: Tensor
    kept: Tensor
    null: Tensor
    squared_error: Tensor


def eliminate(products: Tensor, columns: int, tolerance: float = TOLERANCE) -> Elimination:
    """Eliminate the first `columns` columns from products in parts (3, size, size). Column 0 must not be zero."""
    squares = total(products).diagonal()
    units = torch.where(squares > 0, squares.sqrt().log2().round().exp2(), 1.0)  # powers of 2, so that scaling is exact
    table = _Table(products / units / units[:, None], columns, tolerance)
    table.sweep(0)
    table.sweep_independent()
    while (position := table.farthest()) is not None:
        table.sweep(position)
    x, y = units[:columns], units[columns:]
    targets = table.rest >= columns
    return Elimination(
        coefficients=table.coefficients[:, :, targets] * y / x[:, None],
        inverse=table.inverse / x / x[:, None],
        factor=torch.cat(table.factor)[:, :columns] * x,
        kept=~torch.isin(torch.arange(columns), table.rest),
        null=table.null() * x[table.rest[~targets]] / x[:, None],
        squared_error=total(table.products).diagonal()[targets].clamp(min=0) * y.square(),
    )


class _Table:
    """The remaining columns: their products, and their coefficients on the eliminated columns.

    Attributes:
        rest: Indices of the remaining columns, (rest,).
        products: Products of their remainders in parts, (3, rest, rest).
        coefficients: Their coefficients on the eliminated columns of [1, x] in parts, (3, columns, rest).
        inverse: Inverse of the products of the eliminated columns, (columns, columns).
        factor: Blocks of rows of a factor of all products, (any, size).
    """

    def __init__(self, products: Tensor, columns: int, tolerance: float) -> None:
        self.size = products.shape[1]
        self.columns, self.products, self.rest = columns, products, torch.arange(self.size)
        self.tolerance = tolerance
        self.squares = total(products).diagonal()
        self.coefficients = error_free.zeros(columns, self.size)
        self.inverse = torch.zeros(columns, columns, dtype=torch.float64)
        self.factor: list[Tensor] = []

    def sweep(self, position: int) -> None:
        """Eliminate one column, given by its position in `rest`."""
        column = int(self.rest[position])
        others = (torch.arange(len(self.rest)) != position).nonzero()[:, 0]
        ratio = multiply(self.products[:, position], reciprocal(self.products[:, position, position])[:, None])
        self._append_factor(total(ratio)[None] * self._left()[position].sqrt())
        combination = -total(self.coefficients[:, :, position])
        combination[column] = 1
        self.inverse += torch.outer(combination, combination) / self._left()[position]
        ratio, pivots = ratio[:, others], self.products[:, others, position]
        self.products = _minus_outer(self.products[:, others[:, None], others], pivots, ratio)
        known = self.coefficients[:, :, position]
        self.coefficients = _minus_outer(self.coefficients[:, :, others], known, ratio)
        self.coefficients[:, column] = ratio
        self.rest = self.rest[others]

    def sweep_independent(self) -> None:
        """After column 0, eliminate the columns that are independent in float64."""
        scale = self._left().sqrt()
        varying = (self.rest < self.columns) & (self._left() > 4 * self.tolerance**2 * self._squares_of_rest())
        candidates = varying.nonzero()[:, 0]
        correlations = total(self.products)[candidates][:, candidates] / scale[candidates] / scale[candidates, None]
        min_left, solution = MIN_LEFT, None
        while solution is None:
            chosen, factor = independent(correlations, min_left)
            kept = torch.zeros(len(self.rest), dtype=torch.bool)
            kept[candidates[chosen]] = True
            if not kept.any():
                return
            solution = self._solve(kept, factor)
            min_left *= 10
        self._sweep_together(kept, factor * scale[kept, None], solution)

    def _solve(self, kept: Tensor, factor: Tensor) -> Tensor | None:
        """Return the coefficients of the other columns on `kept` in parts, (3, kept, others).

        Return None if the iterative refinement does not converge. `factor` is the lower Cholesky factor of the
        correlations of `kept`.
        """
        lengths = self._left()[kept].sqrt()
        units = lengths.log2().round().exp2()
        matrix = self.products[:, kept][:, :, kept] / units / units[:, None]
        residual = self.products[:, kept][:, :, ~kept] / units[:, None]
        target, scale = residual, units / lengths
        solution = torch.zeros_like(residual)
        for _ in range(MAX_REFINEMENTS):
            step = torch.cholesky_solve(total(residual) * scale[:, None], factor) * scale[:, None]
            solution = add(solution, step)
            residual = subtract(target, matmul(matrix, solution))
            if (total(residual).abs() <= REFINED).all():
                return solution / units[:, None]
        return None

    def _sweep_together(self, kept: Tensor, factor: Tensor, solution: Tensor) -> None:
        """Eliminate the columns `kept`, given the Cholesky factor of their products and the solution for the others."""
        columns = self.rest[kept]
        rows = factor.new_zeros(len(columns), len(self.rest))
        rows[:, kept], rows[:, ~kept] = factor.T, factor.T @ total(solution)
        self._append_factor(rows)
        inverse, offsets = cholesky_inverse(factor), total(self.coefficients)[0, kept]
        self.inverse[columns[:, None], columns] = inverse
        self.inverse[0, columns] = self.inverse[columns, 0] = -inverse @ offsets
        self.inverse[0, 0] += torch.linalg.solve_triangular(factor, offsets[:, None], upper=False).square().sum()
        known = self.coefficients[:, :, ~kept]
        first = matmul(self.coefficients[:, :1, kept], solution)  # only column 0 is eliminated so far
        known[:, :1] = subtract(known[:, :1], first)
        known[:, columns] = solution
        pivots = self.products[:, ~kept][:, :, kept]
        self.products = subtract(self.products[:, ~kept][:, :, ~kept], matmul(pivots, solution))
        self.coefficients, self.rest = known, self.rest[~kept]

    def farthest(self) -> int | None:
        """Return the position in `rest` of the column of [1, x] that is farthest from a combination of others.

        Return None if all are combinations. The distance is relative to the size of the numbers in the combination.
        """
        combined = total(self.coefficients).square() * self.squares[: self.columns, None]
        left = self._left() / (combined.sum(0) + self._squares_of_rest())
        left = torch.where(self.rest < self.columns, left, 0.0)
        return int(left.argmax()) if (left > self.tolerance**2).any() else None

    def null(self) -> Tensor:
        """Return the null space of [1, x]: the combination that equals each remaining column, minus that column."""
        dropped = self.rest < self.columns
        combinations = self.coefficients[:, :, dropped]
        combinations[0, self.rest[dropped], torch.arange(combinations.shape[2])] = -1
        return combinations

    def _left(self) -> Tensor:
        """Squared lengths of the remainders of the columns in `rest`."""
        return total(self.products).diagonal().clamp(min=0)

    def _squares_of_rest(self) -> Tensor:
        """Squared lengths of the columns in `rest`; 1 for columns of zeros."""
        return torch.where(self.squares > 0, self.squares, 1.0)[self.rest]

    def _append_factor(self, rows: Tensor) -> None:
        """Add rows (any, rest) to the factor."""
        whole = rows.new_zeros(len(rows), self.size)
        whole[:, self.rest] = rows
        self.factor.append(whole)


def _minus_outer(matrix: Tensor, column: Tensor, row: Tensor) -> Tensor:
    """Subtract the outer product of a column (3, m) and a row (3, n) from a matrix (3, m, n), in bounded memory."""
    blocks = zip(matrix.split(BLOCK_COLUMNS, dim=1), column.split(BLOCK_COLUMNS, dim=1), strict=True)
    return torch.cat([subtract(part, multiply(some[:, :, None], row[:, None])) for part, some in blocks], dim=1)


def cholesky_inverse(factor: Tensor) -> Tensor:
    """Invert a matrix with a lower Cholesky factor, block by block."""
    blocks = torch.eye(len(factor), dtype=factor.dtype).split(BLOCK_COLUMNS, dim=1)
    return torch.cat([torch.cholesky_solve(block, factor) for block in blocks], dim=1)


def independent(correlations: Tensor, min_left: float) -> tuple[Tensor, Tensor]:
    """Return the indices of independent columns, (kept,), and the lower factor of their correlations, (kept, kept).

    This is a blocked Cholesky factorisation of correlations (columns, columns) that skips a column if no more than the
    fraction `min_left` of its squared length remains after the columns before it.
    """
    kept = torch.zeros(0, dtype=torch.long)
    factor = correlations.new_zeros(0, 0)
    for block in torch.arange(len(correlations)).split(BLOCK_COLUMNS):
        above = torch.linalg.solve_triangular(factor, correlations[kept][:, block], upper=False)
        left = correlations[block][:, block] - above.T @ above
        rows, chosen = _independent_of_block(left, min_left)
        size = len(kept)
        kept = torch.cat([kept, block[chosen]])
        larger = factor.new_zeros(len(kept), len(kept))
        larger[:size, :size], larger[size:, :size], larger[size:, size:] = factor, above[:, chosen].T, rows
        factor = larger
    return kept, factor


def _independent_of_block(left: Tensor, min_left: float) -> tuple[Tensor, Tensor]:
    """Do the same for the remainder (block, block) of the correlations of one block."""
    factor, failed = torch.linalg.cholesky_ex(left)
    if not failed and (factor.diagonal().square() > min_left).all():
        return factor, torch.arange(len(left))
    chosen, columns = [], []
    for number in range(len(left)):
        pivot = left[number, number]
        if pivot > min_left:
            chosen.append(number)
            columns.append(left[:, number] / pivot.sqrt())
            left = left - torch.outer(columns[-1], columns[-1])
    index = torch.tensor(chosen, dtype=torch.long)
    return (torch.stack(columns, dim=1)[index].tril() if chosen else left[:0, :0]), index
