"""Columns of any type as numbers; what cannot be one is an error that names file, column and row."""

import math
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import torch
from torch import Tensor

from project.errors import UserError

MISSING = pa.array(pyarrow.csv.ConvertOptions().null_values)  # "", "NA", "NaN", "null" and the like


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
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if pa.types.is_temporal(column.type) or pa.types.is_nested(column.type):
        raise UserError(f"{path}: column {name!r} is {column.type}, not a number: {mend}")
    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        column = pc.utf8_trim_whitespace(column)
        column = pc.if_else(pc.is_in(column, MISSING), pa.scalar(None, column.type), column)
    try:
        return column.cast(pa.float64(), safe=False)
    except pa.ArrowInvalid:
        row = _first_text(column)
        raise UserError(
            f"{path}: column {name!r}, row {first_row + row}: {column[row].as_py()!r} is not a number: {mend}"
        ) from None


def _first_text(column: pa.ChunkedArray) -> int:
    """Index of the first value that is not a number, by bisection: whether a slice converts is one call."""
    start, stop = 0, len(column)
    while stop - start > 1:
        middle = (start + stop) // 2
        try:
            column.slice(start, middle - start).cast(pa.float64())
            start = middle
        except pa.ArrowInvalid:
            stop = middle
    return start


def is_number(text: str) -> bool:
    """Whether a text is a finite number."""
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False
