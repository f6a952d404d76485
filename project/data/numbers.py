"""Table columns as numbers; errors name the file, column and row."""

import math
from pathlib import Path

import pyarrow as pa
import torch
from torch import Tensor

from project.runtime.arrow import NotANumberError, as_float64
from project.runtime.errors import UserError

FLOAT32_MAX = torch.finfo(torch.float32).max


def numbers(path: str | Path, table: pa.Table, first_row: int = 1, hint: str = "correct it") -> Tensor:
    """Convert a table to numbers.

    Args:
        path: File of the table, for errors.
        table: Columns of any type; text that spells a number is converted.
        first_row: Number of the table's first row within the file, for errors.
        hint: What to do about a value that is not a number, for errors.

    Returns:
        Shape (rows, columns), float64, with NaN for missing values.

    Raises:
        UserError: If a value is not a number, or not a finite float32.
    """
    values = torch.empty(table.num_columns, table.num_rows, dtype=torch.float64)
    for index, name in enumerate(table.column_names):
        try:
            column = as_float64(table.column(name))
        except NotANumberError as error:
            row = f", row {first_row + error.row}:" if error.row is not None else ""
            raise UserError(f"{path}: column {name!r}{row} {error}; {hint}") from None
        array = column.fill_null(float("nan")).combine_chunks().to_numpy(zero_copy_only=False)
        values[index] = torch.from_numpy(array.copy() if not array.flags.writeable else array)
    check_float32(path, values.T, table.column_names, first_row)
    return values.T


def check_float32(
    place: str | Path, values: Tensor, names: list[str], first_row: int = 1, fix_missing: str | None = None
) -> None:
    """Raise a UserError that names the first value that is not a finite float32.

    Args:
        place: File or split of the rows, for the error.
        values: Shape (rows, *row_shape).
        names: A name for each number of a row.
        first_row: Number of the first row within its file.
        fix_missing: What to do about a missing value, NaN; with `None`, NaN is no error.
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


def is_number(text: str) -> bool:
    """Whether a text is a finite number."""
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False
