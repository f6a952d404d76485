"""Conversion of table columns to numbers; errors name the file, column and row."""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from project.runtime.arrow import CellError, as_float64
from project.runtime.errors import UserError

FLOAT32_MAX = torch.finfo(torch.float32).max


def numbers(path: str | Path, table: pa.Table, first_row: int = 1, hint: str = "correct it") -> Tensor:
    """Convert a table to numbers (rows, columns), float64, NaN for missing values.

    Raises:
        UserError: If a value is not a number, or not a finite float32. The error names the file `path`, the column and
            the row, counted from `first_row`.
    """
    values = np.empty((table.num_columns, table.num_rows))
    for index, name in enumerate(table.column_names):
        try:
            column = as_float64(table.column(name))
        except CellError as error:
            row = f", row {first_row + error.row}:" if error.row is not None else ""
            raise UserError(f"{path}: column {name!r}{row} {error}; {hint}") from None
        values[index] = column.fill_null(np.nan).to_numpy()
    rows = torch.from_numpy(values).T
    check_float32(path, rows, table.column_names, first_row)
    return rows


def check_float32(
    place: str | Path, values: Tensor, names: list[str], first_row: int = 1, fix_missing: str | None = None
) -> None:
    """Check that all values are finite in float32.

    Args:
        place: Beginning of the error message.
        values: Shape (rows, *row_shape).
        names: A name for each number of a row.
        first_row: Number of the first row.
        fix_missing: What to do about missing values (NaN); None if they are allowed.

    Raises:
        UserError: If a value is not. The error names the column and the row.
    """
    if values.numel() == 0:
        return
    lowest, highest = values.aminmax()  # both are NaN if any value is
    if lowest >= -FLOAT32_MAX and highest <= FLOAT32_MAX:
        return
    wrong = values.abs() > FLOAT32_MAX
    if fix_missing is not None:
        wrong |= values.isnan()
    if wrong.any():
        row, column = wrong.flatten(1).nonzero()[0].tolist()
        value = values[row].flatten()[column].item()
        problem = f"missing value; {fix_missing}" if math.isnan(value) else f"{value} is not a finite float32"
        raise UserError(f"{place}: column {names[column]!r}, row {first_row + row}: {problem}")


def plus(values: Tensor, offsets: Sequence[float] | None) -> Tensor:
    """Add an offset to each column of values (…, columns), in float64; without offsets, return the values unchanged."""
    return values if offsets is None else values.double() + torch.tensor(offsets, dtype=torch.float64)


def as_float32(values: Tensor) -> Tensor:
    """Convert to float32. Overlapping windows, which are views of one series, stay views of one series."""
    length = 1 + sum((size - 1) * stride for size, stride in zip(values.shape, values.stride(), strict=True))
    if values.numel() <= length:
        return values.float()
    series = values.as_strided((length,), (1,))
    return series.float().as_strided(values.shape, values.stride())
