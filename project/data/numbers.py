"""Columns of any type as numbers; what cannot be one is an error that names file, column and row."""

import math
from pathlib import Path

import pyarrow as pa
import torch
from torch import Tensor

from project.runtime.arrow import NotANumberError, as_float64
from project.runtime.errors import UserError


def numbers(path: str | Path, table: pa.Table, first_row: int = 1, mend: str = "mend it") -> Tensor:
    """A table's columns as float64 (rows, columns) with NaN for missing values; see `read_numbers` of `table`.

    Args:
        path: Named in errors.
        table: Columns of any type; numbers in text are taken as numbers.
        first_row: Number of the table's first row within the file, for errors.
        mend: What to do about text in a column, for errors.
    """
    values = torch.empty(table.num_columns, table.num_rows, dtype=torch.float64)
    for index, name in enumerate(table.column_names):
        column = _as_float64(table.column(name), path, name, first_row, mend)
        array = column.fill_null(float("nan")).combine_chunks().to_numpy(zero_copy_only=False)
        values[index] = torch.from_numpy(array.copy() if not array.flags.writeable else array)
    infinite = values.isinf()
    if infinite.any():
        index, row = infinite.nonzero()[0].tolist()
        raise UserError(f"{path}: column {table.column_names[index]!r}, row {first_row + row}: an infinite value")
    return values.T


def _as_float64(column: pa.ChunkedArray, path: str | Path, name: str, first_row: int, mend: str) -> pa.ChunkedArray:
    try:
        return as_float64(column)
    except NotANumberError as error:
        place = f", row {first_row + error.row}:" if error.row is not None else ""
        raise UserError(f"{path}: column {name!r}{place} {error}: {mend}") from None


def is_number(text: str) -> bool:
    """Whether a text is a finite number."""
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False
