"""Rows of numbers as inputs of a network: float32, with missing values treated as in training."""

import math
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from project.serving.artifact import Array
from project.serving.metadata import Metadata, schema_of
from project.serving.request_error import RequestError, quoted

FLOAT32_MAX = float(np.finfo(np.float32).max)
NOT_FLOAT32 = "is not a finite float32"
INPUT_MEMORY = 24  # measured bytes of memory for each number of a row, its float64 form included

Numbers = NDArray[np.float64]
Mask = NDArray[np.bool_]


def fill(metadata: Metadata, x: Numbers) -> tuple[Array, Mask | None]:
    """Treat missing values, NaN, as in training.

    x are rows (rows, *in_shape) or (rows, features), or the time steps of one series (steps, channels). Return them in
    float32 without NaN, and a mask of the complete ones (rows,); None if all are complete.

    Raises:
        RequestError: With row and feature of a missing value, if training accepted none.
    """
    missing = np.isnan(x)
    if not missing.any():
        return x.astype(np.float32), None
    schema = schema_of(metadata)
    if metadata["missing"] in ("fill", "mean", "median"):
        means = np.array(metadata["feature_means"] if schema is None else schema.fills).reshape(
            x.shape[-1:] if metadata["window"] else x.shape[1:]
        )
        return np.where(missing, means, x).astype(np.float32), None
    flat = missing.reshape(len(x), -1)
    if metadata["missing"] == "error":
        row, number = np.argwhere(flat)[0].tolist()
        names = metadata["feature_names"]
        name = names[number % len(names)] if schema is None else schema.field_of(number)
        raise RequestError(422, "missing value; the model was trained without any", row + 1, name)
    return np.where(missing, 0, x).astype(np.float32), np.logical_not(flat.any(axis=1))


def checked_number(value: Any, row: int, name: str, place: str = "") -> float:
    """Return a value in JSON as a number, NaN for null; raise a RequestError if float32 cannot hold it."""
    if value is None:
        return math.nan
    is_number = type(value) in (int, float)
    if not is_number or not abs(value) <= FLOAT32_MAX:  # a NaN compares false
        problem = NOT_FLOAT32 if is_number else "is not a number"
        raise RequestError(422, f"{place}{quoted(value)} {problem}", row, name)
    return float(value)


class TableInputs:
    """Turns the rows of a table, block by block, into inputs of a network.

    A model of series forecasts from the window of rows that ends at each row, so the last rows of a block are kept for
    the next one. Windows that begin before the first row of the table are incomplete.
    """

    def __init__(self, metadata: Metadata) -> None:
        self.metadata = metadata
        steps = max(metadata["window"] - 1, 0)
        self._rows = np.zeros((steps, len(metadata["feature_names"])), np.float32)
        self._complete = np.zeros(steps, np.bool_)

    def read(self, x: Numbers) -> tuple[Array, Mask | None]:
        """Return the next rows (rows, features) as inputs (rows, *in_shape), and the mask of `fill`.

        Raises:
            RequestError: With row, counted within the block, and feature of a missing value, if training accepted none.
        """
        window = self.metadata["window"]
        inputs, complete = fill(self.metadata, x)
        if window and len(x):
            rows = np.concatenate([self._rows, inputs])
            mask = np.concatenate([self._complete, np.ones(len(x), np.bool_) if complete is None else complete])
            self._rows, self._complete = rows[len(x) :], mask[len(x) :]
            inputs = sliding_window_view(rows, window, axis=0).swapaxes(1, 2)  # (rows, window, channels)
            complete = np.logical_and.reduce(sliding_window_view(mask, window), axis=1)
        return inputs.reshape(len(x), *self.metadata["in_shape"]), complete
