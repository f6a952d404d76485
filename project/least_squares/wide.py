"""Least squares with fewer rows than columns, from the products of rows instead of those of columns.

The weights of minimum norm are combinations of the rows, so there are only as many unknowns as rows.
Method: Golub & Van Loan, *Matrix Computations*, 4th ed., section 5.6.2 (minimum norm solutions); with a penalty,
Saunders, Gammerman & Vovk, "Ridge Regression Learning Algorithm in Dual Variables" (1998).
"""

from typing import Any

import torch
from torch import Tensor

from project.least_squares import error_free
from project.least_squares.elimination import MIN_LEFT, cholesky_inverse, eliminate, independent
from project.least_squares.error_free import (
    add,
    add_gram,
    matmul,
    multiply,
    rounded_matmul,
    subtract,
    total,
    with_ones,
)
from project.least_squares.fit import LeastSquaresFit
from project.least_squares.normal import NormalEquations

BLOCK_ROWS = 256
# The rows determine a coefficient if the projection on the rows shortens the unit vector of its column by less.
MAX_LOST = 1e-8


class WideRows:
    """Rows of a problem with more columns than rows: x (rows, in_features), y (rows, out_features), float64.

    The weights (rows,) are above 0.
    """

    def __init__(self, x: Tensor, y: Tensor, weights: Tensor) -> None:
        self.x, self.y, self.weights = x, y, weights

    def solve(self, alpha: Tensor) -> LeastSquaresFit:
        """Return the fit with a ridge penalty alpha (in_features,)."""
        if not alpha.any():
            return self._solve()
        if not alpha.all():  # then the weights are not combinations of the rows only
            products = error_free.zeros(*[1 + self.x.shape[1] + self.y.shape[1]] * 2)
            for block in zip(*(part.split(BLOCK_ROWS) for part in (self.x, self.y, self.weights.sqrt())), strict=True):
                add_gram(products, with_ones(*block))
            return NormalEquations(products, self.x.shape[1], len(self.x)).solve(alpha)
        noise = 1 / self.weights
        fit = _Interpolation(self.x / alpha.sqrt(), self.y, noise)
        variance = fit.squares(rounded_matmul(fit.projection * noise, fit.projection)) / alpha
        return self._fit(
            fit.weights / alpha.sqrt()[:, None],
            fit.bias,
            variance=torch.cat([(fit.mean.square() * noise).sum()[None], variance]),
            squared_error=(fit.duals.square() * noise[:, None]).sum(0),
            rank=len(alpha),
            freedom=(fit.projection.diagonal() * noise).sum().item(),
            alpha=alpha,
        )

    def _solve(self) -> LeastSquaresFit:
        lengths = self.x.square().sum(0).sqrt()
        units = torch.where(lengths > 0, lengths.log2().round().exp2(), 1.0)
        # The other rows are combinations of `kept`, so all predictions follow from those for `kept`.
        kept, combinations = _independent(self.x / units)
        all_rows = torch.cat([torch.eye(int(kept.sum()), dtype=self.x.dtype), combinations])
        y, weights = (torch.cat([part[kept], part[~kept]]) for part in (self.y, self.weights))
        spread = weights.reciprocal().diag()
        if len(combinations):
            spread = cholesky_inverse(torch.linalg.cholesky((all_rows.T * weights) @ all_rows))
        more = y[len(spread) :] - combinations @ y[: len(spread)]
        wanted = y[: len(spread)] + spread @ ((combinations.T * weights[len(spread) :]) @ more)
        fit = _Interpolation(self.x[kept], wanted)
        variance = torch.full((1 + len(units),), torch.nan, dtype=self.x.dtype)
        if len(spread) < len(self.x):
            scaled = _Interpolation(self.x[kept] / units, wanted)
            lost = 1 - scaled.squares(scaled.projection)
            of_weights = scaled.squares(rounded_matmul(rounded_matmul(scaled.projection, spread), scaled.projection))
            variance[1:] = torch.where(lost < MAX_LOST, of_weights / units.square(), torch.nan)
            variance[0] = torch.where(scaled.origin < MAX_LOST**0.5, scaled.mean @ spread @ scaled.mean, torch.nan)
        return self._fit(
            fit.weights,
            fit.bias,
            variance=variance,
            squared_error=(weights[:, None] * (all_rows @ wanted - y).square()).sum(0),
            rank=len(spread) - 1,
            freedom=len(self.x) - len(spread),
            alpha=torch.zeros_like(lengths),
        )

    def _fit(self, weights: Tensor, bias: Tensor, **results: Any) -> LeastSquaresFit:
        each, total_weight = self.weights[:, None], self.weights.sum()
        return LeastSquaresFit(
            weights=weights,
            bias=bias,
            target_squares=(each * self.y.square()).sum(0),
            target_spread=(each * (self.y - (each * self.y).sum(0) / total_weight).square()).sum(0),
            rows=len(self.x),
            total_weight=total_weight.item(),
            factor=each.sqrt() * torch.cat([torch.ones_like(each), self.x], dim=1),
            system=self,
            **results,
        )


class _Interpolation:
    """Weights of minimum norm, with an intercept, that predict y (rows, out) from rows (rows, columns).

    With `noise` (rows,), they minimise squared weights + squared errors / noise.

    Attributes:
        rows: Deviations of the rows from their mean, (rows, columns).
        weights: (columns, out).
        bias: (out,).
        duals: Coefficients with weights = rows.T @ duals, (rows, out).
        projection: A matrix with duals = projection @ y, (rows, rows).
        mean: Coefficients with intercept = mean @ y, (rows,).
        origin: Distance of the origin from the nearest affine combination of rows, relative to the longest row.
    """

    def __init__(self, rows: Tensor, y: Tensor, noise: Tensor | None = None) -> None:
        self.rows = rows - rows.mean(0)
        lengths = rows.square().sum(1)
        constant = lengths.mean().item()  # the sum of the duals is 0, so any constant may be added to the products
        right = torch.cat([y, torch.ones_like(y[:, :1])], dim=1)
        products = error_free.zeros(len(y) + right.shape[1], len(y) + right.shape[1])
        noise = torch.zeros_like(lengths) if noise is None else noise
        products[:, : len(y), : len(y)] = add(_products(rows, constant), noise.diag())
        products[0, : len(y), len(y) :], products[0, len(y) :, : len(y)] = right, right.T
        products[0].diagonal()[len(y) :] = right.square().sum(0)
        solved = eliminate(products, len(y), tolerance=0.0)
        targets, ones = solved.coefficients[:, :, :-1], solved.coefficients[:, :, -1:]
        bias = total(targets).sum(0) / total(ones).sum()
        duals = subtract(targets, multiply(ones, bias[None, None]))
        self.duals = total(duals)
        self.weights = total(matmul(rows.T[None], duals))
        self.bias = (y - rows @ self.weights - noise[:, None] * self.duals).mean(0)
        self.mean = total(ones)[:, 0] / total(ones).sum()
        self.projection = solved.inverse - torch.outer(self.mean, total(ones)[:, 0])
        self.origin = (self.mean @ rows).norm() / lengths.max().sqrt()

    def squares(self, matrix: Tensor) -> Tensor:
        """Return column.T @ matrix @ column for each column of `rows`, (columns,), with a matrix (rows, rows)."""
        return (rounded_matmul(self.rows.T, matrix) * self.rows.T).sum(1)


def _independent(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Return whether each row (n, columns) is independent, with an intercept, (n,), and the combinations of the others.

    The combinations express the other rows by the independent ones, (others, independent).
    """
    products = rounded_matmul(rows, rows.T) + 1
    lengths = products.diagonal().sqrt()
    if len(independent(products / lengths / lengths[:, None], MIN_LEFT)[0]) == len(rows):  # independent in float64
        return torch.ones(len(rows), dtype=torch.bool), products[:0]
    solved = eliminate(_products(rows, 1.0), len(rows))
    return solved.kept, total(solved.null)[solved.kept].T


def _products(rows: Tensor, constant: float) -> Tensor:
    """Return the products of rows (n, columns) plus a constant in parts, (3, n, n)."""
    products = add(error_free.zeros(len(rows), len(rows)), rows.new_full((len(rows), len(rows)), constant))
    for block in rows.split(error_free.rows_at_once(len(rows)), dim=1):
        add_gram(products, block.T)
    return products
