"""The exact answer that learning is measured against: least squares with an intercept, of any number of rows."""

from project.least_squares.fit import LeastSquaresFit
from project.least_squares.metric import LeastSquares

__all__ = ["LeastSquares", "LeastSquaresFit"]
