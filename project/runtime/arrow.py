"""Columns of any type as numbers."""

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

MISSING = pa.array(pyarrow.csv.ConvertOptions().null_values)  # "", "NA", "NaN", "null" and the like


class NotANumberError(ValueError):
    """What is none.

    Args:
        told: What it is instead.
        row: Index of the first value that is none; None if the whole column is of another kind.
    """

    def __init__(self, told: str, row: int | None = None) -> None:
        self.row = row
        super().__init__(told)


def as_float64(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """A column as float64, null where a value is missing; numbers in text are taken as numbers.

    Raises:
        NotANumberError: If a value or the whole column is none.
    """
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if pa.types.is_temporal(column.type) or pa.types.is_nested(column.type):
        raise NotANumberError(f"is {column.type}, not a number")
    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        column = pc.utf8_trim_whitespace(column)
        column = pc.if_else(pc.is_in(column, MISSING), pa.scalar(None, column.type), column)
    try:
        return column.cast(pa.float64(), safe=False)
    except pa.ArrowInvalid:
        row = _first_text(column)
        raise NotANumberError(f"{column[row].as_py()!r} is not a number", row) from None
    except pa.ArrowNotImplementedError:  # binary and the like
        raise NotANumberError(f"is {column.type}, not a number") from None


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
