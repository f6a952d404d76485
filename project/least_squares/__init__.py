"""Exact least squares with an intercept, for any number of rows: the reference that training is compared with."""

from project.least_squares.fit import LeastSquaresFit
from project.least_squares.metric import LeastSquares

__all__ = ["LeastSquares", "LeastSquaresFit"]
