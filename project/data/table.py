"""Tables on disk, CSV and Parquet, as numbers: what cannot be a number is an error that names file, column and row."""

import math
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.dataset
import torch
from torch import Tensor

from project.errors import UserError

BLOCK_ROWS = 65_536
MISSING = pa.array(pyarrow.csv.ConvertOptions().null_values)  # "", "NA", "NaN", "null" and the like


def is_parquet(path: str | Path) -> bool:
    """Whether a path is read as Parquet: by its ending, or as a folder of Parquet files."""
    return Path(path).is_dir() or Path(path).suffix.lower() in (".parquet", ".pq")


def column_names(path: str | Path) -> list[str]:
    """The names of a table's columns, without reading its rows.

    Raises:
        UserError: If the file is missing, empty, unreadable or without a header, or names a column twice.
    """
    check_readable(path)
    try:
        if is_parquet(path):
            names = pyarrow.dataset.dataset(path, format="parquet").schema.names
        else:
            with pyarrow.csv.open_csv(path) as reader:
                names = reader.schema.names
    except (pa.ArrowInvalid, UnicodeDecodeError) as error:
        raise _unreadable(path, error) from error
    if not names:
        raise UserError(f"{path}: no columns: give a folder with Parquet files in it, or a table with a header")
    if all(_is_number(name) for name in names):
        shown = ", ".join(names[:3])
        raise UserError(
            f"{path}: the first line ({shown}, …) holds numbers, not names: put a line of column names first"
        )
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise UserError(f"{path}: column {twice!r} comes twice: rename one of them")
    return names


def check_readable(path: str | Path) -> None:
    """Raise a UserError unless a path is a file with something in it, or a folder."""
    path = Path(path)
    if not path.exists():
        raise UserError(f"{path}: no such file or folder")
    if path.is_file() and path.stat().st_size == 0:
        raise UserError(f"{path}: the file is empty")


def require_columns(path: str | Path, wanted: list[str], present: list[str], flag: str) -> None:
    """Raise a UserError that names the first wanted column that is not present."""
    for name in wanted:
        if name not in present:
            if len(present) == 1 and any(separator in present[0] for separator in ";\t|"):
                raise UserError(
                    f"{path}: the columns are not separated by commas ({present[0]!r}): save it with commas"
                )
            shown = ", ".join(present[:20]) + (", …" if len(present) > 20 else "")
            raise UserError(f"{path}: there is no column {name!r} (for {flag}); the columns are: {shown}")


def read_numbers(path: str | Path, columns: list[str], mend: str = "mend it") -> Tensor:
    """Columns of a table as numbers.

    Args:
        path: A CSV file, a Parquet file or a folder of Parquet files.
        columns: Names of the columns, in the order they are wanted.
        mend: What to do about text in a column, for errors.

    Returns:
        Shape (rows, columns), float64, with NaN for missing values.

    Raises:
        UserError: If a value is text or infinite; the file, column and row (1 is the first after the header) are named.
    """
    numeric = dict.fromkeys(columns, pa.float64())
    try:
        if is_parquet(path):
            table = pyarrow.dataset.dataset(path, format="parquet").to_table(columns=columns)
        else:
            convert = pyarrow.csv.ConvertOptions(include_columns=columns, column_types=numeric)
            table = pyarrow.csv.read_csv(path, convert_options=convert)
    except pa.ArrowInvalid as error:
        if "conversion error" not in str(error):
            raise _unreadable(path, error) from error
        # One value is not a number: read again as text, so that the conversion below can say which.
        convert = pyarrow.csv.ConvertOptions(
            include_columns=columns, column_types=dict.fromkeys(columns, pa.string()), strings_can_be_null=True
        )
        table = pyarrow.csv.read_csv(path, convert_options=convert)
    return numbers(path, table.select(columns), mend=mend)


def read_labels(path: str | Path, column: str) -> list[str | None]:
    """A column's values as text, None where missing."""
    if is_parquet(path):
        values = pyarrow.dataset.dataset(path, format="parquet").to_table(columns=[column]).column(0)
        values = values.cast(values.type.value_type) if pa.types.is_dictionary(values.type) else values
    else:
        convert = pyarrow.csv.ConvertOptions(
            include_columns=[column], column_types={column: pa.string()}, strings_can_be_null=True
        )
        values = pyarrow.csv.read_csv(path, convert_options=convert).column(0)
    if pa.types.is_nested(values.type):
        raise UserError(f"{path}: column {column!r} is {values.type}: classes are text or integers")
    values = pc.utf8_trim_whitespace(values.cast(pa.string()))
    return pc.if_else(pc.is_in(values, MISSING), pa.scalar(None, pa.string()), values).to_pylist()


def sorted_labels(labels: list[str | None]) -> list[str]:
    """Each label once, in order: of numbers where all are, else of text."""
    names = {label for label in labels if label is not None}
    if not all(map(_is_number, names)):
        return sorted(names)
    return sorted(names, key=lambda name: (float(name), name))


def stream(path: str | Path) -> tuple[pa.Schema, Iterator[pa.RecordBatch]]:
    """A table's schema and its rows, block by block, in order and in bounded memory.

    Values of a CSV file are taken as text, as they are spelled: a guess from the first rows may fail later ones.

    Args:
        path: A CSV file, a Parquet file or a folder of Parquet files.
    """
    names = column_names(path)
    if is_parquet(path):
        rows = pyarrow.dataset.dataset(path, format="parquet")
        return rows.schema, rows.to_batches(batch_size=BLOCK_ROWS, batch_readahead=1, fragment_readahead=1)
    convert = pyarrow.csv.ConvertOptions(column_types=dict.fromkeys(names, pa.string()))
    try:
        reader = pyarrow.csv.open_csv(path, convert_options=convert)
    except pa.ArrowInvalid as error:
        raise _unreadable(path, error) from error
    return reader.schema, _readable(path, reader)


def _readable(path: str | Path, reader: pyarrow.csv.CSVStreamingReader) -> Iterator[pa.RecordBatch]:
    try:
        yield from reader
    except pa.ArrowInvalid as error:
        raise _unreadable(path, error) from error


def _unreadable(path: str | Path, error: Exception) -> UserError:
    """What is wrong with a file, with the row where reading in one thread can tell."""
    if not is_parquet(path):
        try:
            pyarrow.csv.read_csv(path, read_options=pyarrow.csv.ReadOptions(use_threads=False))
        except pa.ArrowInvalid as located:
            error = located
    return UserError(f"{path}: {str(error).splitlines()[0]}")


def numbers(path: str | Path, table: pa.Table, first_row: int = 1, mend: str = "mend it") -> Tensor:
    """A table's columns as float64 (rows, columns) with NaN for missing values; see `read_numbers`.

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


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False
