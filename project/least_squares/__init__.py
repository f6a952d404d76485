"""Exact least squares with an intercept, for any number of rows, as the reference for training."""

from project.least_squares.accumulator import LeastSquares
from project.least_squares.budget import fit_within
from project.least_squares.fit import LeastSquaresFit

__all__ = ["LeastSquares", "LeastSquaresFit", "fit_within"]
