"""Reading of tables, CSV and Parquet; errors name the file, column and row."""

from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from itertools import islice
from pathlib import Path

import pyarrow as pa
import pyarrow.dataset
import torch
from torch import Tensor

from project.data.csv_files import csv_blocks, csv_columns, csv_errors, read_csv
from project.data.csv_format import GUESSED, CSVFormat, find_format
from project.data.csv_numbers import with_plain_numbers, written_numbers
from project.data.location import check_readable, is_parquet, locate
from project.data.numbers import numbers
from project.runtime.arrow import is_number
from project.runtime.errors import UserError

BLOCK_ROWS = 16_384
MAX_NAMES = 20


def column_names(path: str | Path, given: CSVFormat = GUESSED) -> list[str]:
    """Return the column names of a table without reading its rows.

    Raises:
        UserError: If the table cannot be read, has no header, or two columns have the same name.
    """
    check_readable(path)
    with _reading(path, given):
        names = _dataset(path).schema.names if is_parquet(path) else csv_columns(path, given)
    if not names:
        problem = "no columns; a table needs a header, and a folder needs CSV or Parquet files"
    elif all(is_number(name) for name in names):
        problem = f"the first line contains numbers ({', '.join(names[:3])}, …); add a line of column names above it"
    elif (repeated := first_repeated(names)) is not None:
        problem = f"two columns are named {repeated!r}; rename one of them"
    else:
        return names
    raise UserError(f"{path}: {problem}")


def first_repeated(names: list[str]) -> str | None:
    """Return the first name that occurs more than once, if any."""
    counts = Counter(names)  # linear time, since a header may have a hundred thousand names
    return next((name for name in names if counts[name] > 1), None)


def require_columns(path: str | Path, wanted: list[str], present: list[str], flag: str) -> None:
    """Check that `wanted` has at least one name, that all its names are present, and that none is repeated.

    Raises:
        UserError: If this is not so. The error includes `flag`, which says where `wanted` comes from.
    """
    known = set(present)
    missing = next((name for name in wanted if name not in known), None)
    if not wanted:
        problem = "no column is selected"
    elif missing is not None:
        problem = f"no column {missing!r}"
    elif (repeated := first_repeated(wanted)) is not None:
        problem = f"column {repeated!r} is named twice"
    else:
        return
    hint = f"the columns are: {', '.join(present[:MAX_NAMES])}{', …' if len(present) > MAX_NAMES else ''}"
    raise UserError(f"{path}: {problem} ({flag}); {hint}")


def first_rows(path: str | Path, given: CSVFormat = GUESSED) -> pa.Table:
    """Read the first block of a table. The column types of a CSV file are inferred from this block.

    Raises:
        UserError: If the table has no rows.
    """
    with _reading(path, given):
        if is_parquet(path):
            schema = _dataset(path).schema
            table = pa.Table.from_batches(islice(_blocks(path, given, dict.fromkeys(schema.names)), 1), schema)
        else:
            table = next((pa.Table.from_batches([block]) for block in csv_blocks(path, given)), None)
    if table is None or not len(table):
        raise UserError(f"{path}: no rows below the header")
    if is_parquet(path):
        return table
    decimal = find_format(path, given).decimal
    return with_plain_numbers(table, decimal, written_numbers(table, decimal))


def read_table(
    path: str | Path, columns: list[str], texts: Collection[str] = (), given: CSVFormat = GUESSED
) -> pa.Table:
    """Read columns of a table. The column types of a CSV file fit all of its rows; the columns `texts` stay text."""
    with _reading(path, given):
        if is_parquet(path):
            return _dataset(path).to_table(columns=columns)
        return read_csv(path, given, columns, texts)


def table_blocks(
    path: str | Path, columns: list[str], numeric: Collection[str], given: CSVFormat = GUESSED
) -> Iterator[pa.Table]:
    """Read columns of a table block by block, in bounded memory.

    The columns of a CSV file are read as numbers if they are in `numeric`, otherwise as text. After a value that
    pyarrow cannot convert to a number, they are text.
    """
    done = 0
    with _reading(path, given):
        types = {name: pa.float64() if name in numeric else pa.string() for name in columns}
        try:
            for block in _blocks(path, given, types):
                yield pa.Table.from_batches([block])
                done += len(block)
            return
        except (pa.ArrowInvalid, OSError) as error:  # Parquet files raise an OSError
            if "conversion error" not in str(error):
                raise
        decimal = "." if is_parquet(path) else find_format(path, given).decimal
        row = 0  # pyarrow could not convert a value, so continue with text, for which we accept more spellings
        for block in _blocks(path, given, dict.fromkeys(columns, pa.string())):
            if row >= done:
                yield with_plain_numbers(pa.Table.from_batches([block]), decimal, numeric)
            row += len(block)


def read_numbers(path: str | Path, columns: list[str], hint: str = "correct it", given: CSVFormat = GUESSED) -> Tensor:
    """Read columns of a table as numbers (rows, columns), float64, NaN for missing values.

    Raises:
        UserError: If a value is not a number, or not a finite float32. Row 1 is the row below the header.
    """
    blocks, done = [torch.empty(0, len(columns), dtype=torch.float64)], 0
    for block in table_blocks(path, columns, columns, given):
        blocks.append(numbers(path, block.select(columns), first_row=done + 1, hint=hint))
        done += len(block)
    return torch.cat(blocks)


def stream(path: str | Path, given: CSVFormat = GUESSED) -> tuple[pa.Schema, Iterator[pa.RecordBatch]]:
    """Return the schema of a table, and an iterator over its blocks of rows, in order and in bounded memory.

    The values of a CSV file are text, because types that are inferred from the first rows may not fit later rows.
    """
    names = column_names(path, given)
    if is_parquet(path):
        return _dataset(path).schema, _blocks(path, given, dict.fromkeys(names))

    def blocks() -> Iterator[pa.RecordBatch]:
        with _reading(path, given):
            yield from _blocks(path, given, dict.fromkeys(names, pa.string()), nulls=False)

    return pa.schema([(name, pa.string()) for name in names]), blocks()


def _blocks(
    path: str | Path, given: CSVFormat, types: Mapping[str, pa.DataType | None], nulls: bool = True
) -> Iterator[pa.RecordBatch]:
    """Read columns by name; those of a CSV file are converted to the given types."""
    if is_parquet(path):
        for file in _dataset(path).get_fragments():
            for group in file.split_by_row_group():  # a scan of the whole file would read far ahead
                yield from group.to_batches(columns=list(types), batch_size=BLOCK_ROWS, batch_readahead=0)
        return
    yield from csv_blocks(path, given, types, nulls)


def _dataset(path: str | Path) -> pyarrow.dataset.Dataset:
    system, inner = locate(path)
    return pyarrow.dataset.dataset(inner, filesystem=system, format="parquet")


@contextmanager
def _reading(path: str | Path, given: CSVFormat) -> Iterator[None]:
    """Convert errors of pyarrow to a UserError with the file, and with the row if pyarrow can find it."""
    try:
        is_csv = not is_parquet(path)
        with csv_errors(path, given) if is_csv else nullcontext():
            yield
    except (pa.ArrowException, OSError) as error:
        raise UserError(f"{path}: {str(error).splitlines()[0]}") from error
