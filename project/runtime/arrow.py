"""Conversion of Arrow columns of any type to numbers."""

import math
import sys
from importlib.abc import MetaPathFinder

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv


class _PandasBlocker(MetaPathFinder):
    """Makes `import pandas` fail while pyarrow makes its first array, because that import takes 0.5 s and 60 MB.

    pyarrow imports pandas later if a data frame is requested.
    """

    def find_spec(self, fullname: str, path: object, target: object = None) -> None:
        """Raise an ImportError for pandas; other finders import the other modules."""
        if fullname == "pandas":
            raise ImportError(fullname)


if "pandas" not in sys.modules:
    sys.meta_path.insert(0, _PandasBlocker())
    pa.array([0])
    del sys.meta_path[0]
MISSING = pa.array(pyarrow.csv.ConvertOptions().null_values)  # "", "NA", "NaN", "null" and the like


class CellError(ValueError):
    """A value of a column cannot be converted.

    Attributes:
        row: Index of the value; None if the type of the whole column is wrong.
    """

    def __init__(self, problem: str, row: int | None = None) -> None:
        self.row = row
        super().__init__(problem)


def as_float64(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Convert a column of numbers or text to float64; missing values become null.

    Raises:
        CellError: If a text is not a number, or the type of the column cannot be converted to numbers.
    """
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        column = pc.utf8_trim_whitespace(column)
        column = pc.if_else(pc.is_in(column, MISSING), pa.scalar(None, column.type), column)
    try:
        return column.cast(pa.float64(), safe=False)
    except pa.ArrowInvalid:
        row = _first_text(column)
        raise CellError(f"{column[row].as_py()!r} is not a number", row) from None
    except pa.ArrowNotImplementedError:  # dates, lists and so on
        raise CellError(f"is {column.type}, not a number") from None


def _first_text(column: pa.ChunkedArray) -> int:
    """Return the index of the first value that is not a number, by bisection."""
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
