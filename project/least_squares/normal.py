"""The normal equations of least squares in about 159 bits, for any number of rows."""

from functools import cached_property

import torch
from torch import Tensor

from project.least_squares.elimination import Elimination, eliminate
from project.least_squares.error_free import add, matmul, multiply, reciprocal, subtract, total
from project.least_squares.fit import LeastSquaresFit

# A coefficient is determined if the share of its column in all combinations of columns that are zero is below this.
MAX_SHARE = 1e-8


class NormalEquations:
    """Products of the columns [1, x, y], summed over all rows, in the parts of `error_free`: (3, size, size).

    With weights, each row has been multiplied by the square root of its weight.
    """

    def __init__(self, products: Tensor, in_features: int, rows: int) -> None:
        self.products, self.in_features, self.rows = products, in_features, rows

    def solve(self, alpha: Tensor) -> LeastSquaresFit:
        """Return the fit with a ridge penalty alpha (in_features,)."""
        solved = self._unpenalised
        if alpha.any():
            penalty = torch.zeros_like(self.products[0])
            penalty.diagonal()[1 : 1 + self.in_features] = alpha
            solved = eliminate(add(self.products, penalty), 1 + self.in_features)
        rank = self.in_features - solved.null.shape[2]
        variance, spent = solved.inverse.diagonal(), float(rank)
        if alpha.any():
            variance, spent = self._ridge_variance(solved.inverse[1:, 1:])
        weights, bias = self._minimum_norm(solved)
        return LeastSquaresFit(
            weights=weights,
            bias=bias,
            variance=torch.where(self._is_determined(solved), variance, torch.nan),
            squared_error=(solved.squared_error - (alpha[:, None] * weights.square()).sum(0)).clamp(min=0),
            target_squares=total(self.products).diagonal()[1 + self.in_features :],
            target_spread=self._spread(),
            rank=rank,
            freedom=self.rows - 1 - spent,
            rows=self.rows,
            total_weight=total(self.products)[0, 0].item(),
            factor=self._unpenalised.factor,
            alpha=alpha,
            system=self,
        )

    @cached_property
    def _unpenalised(self) -> Elimination:
        return eliminate(self.products, 1 + self.in_features)

    def _means(self) -> Tensor:
        """Means of the columns [1, x, y] in parts, (3, size)."""
        return multiply(self.products[:, 0], reciprocal(self.products[:, 0, 0])[:, None])

    def _spread(self) -> Tensor:
        """Squared deviations of the targets from their mean, (out,)."""
        sums, means = (part[:, 1 + self.in_features :] for part in (self.products[:, 0], self._means()))
        squares = self.products.diagonal(dim1=1, dim2=2)[:, 1 + self.in_features :]
        return total(subtract(squares, multiply(sums, means))).clamp(min=0)

    def _minimum_norm(self, solved: Elimination) -> tuple[Tensor, Tensor]:
        """Return the weights (in, out) and biases (out,) of the solution with the smallest weights."""
        coefficients = solved.coefficients
        if solved.null.shape[2]:
            # Predictions do not change along these combinations, so float64 is precise enough for the steps.
            units = total(solved.null[:, 1:]).norm(dim=0)
            basis, triangle = torch.linalg.qr(total(solved.null[:, 1:]) / units)
            steps = torch.linalg.solve_triangular(triangle, basis.T @ total(coefficients[:, 1:]), upper=True)
            coefficients = subtract(coefficients, matmul(solved.null, (steps / units[:, None])[None]))
        return total(coefficients[:, 1:]), total(coefficients[:, 0])

    def _is_determined(self, solved: Elimination) -> Tensor:
        """Return whether the rows determine the intercept and each weight, (1 + in,).

        A coefficient is not determined if its column is part of a combination of columns that is zero.
        """
        lengths = total(self.products).diagonal()[: 1 + self.in_features].sqrt()
        shares = total(solved.null) * torch.where(lengths > 0, lengths, 1.0)[:, None]  # independent of the units
        return torch.linalg.qr(shares / shares.norm(dim=0)).Q.square().sum(1) < MAX_SHARE**2

    def _ridge_variance(self, inverse: Tensor) -> tuple[Tensor, float]:
        """Return variances (1 + in,) and model degrees of freedom, from the inverse (in, in) of the penalised products.

        Source: Hoerl & Kennard, "Ridge Regression: Biased Estimation for Nonorthogonal Problems" (1970).
        """
        centred = self._unpenalised.factor[1:, 1:]  # the first row eliminates the intercept
        spread = inverse @ centred.T  # (in, kept)
        of_bias = (
            1 / total(self.products)[0, 0] + (total(self._means())[1 : 1 + self.in_features] @ spread).square().sum()
        )
        return torch.cat([of_bias[None], spread.square().sum(1)]), (spread.T * centred).sum().item()
