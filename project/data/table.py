"""Read tables, CSV and Parquet, as numbers and labels; errors name the file, column and row."""

import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from itertools import islice
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.dataset
import torch
from torch import Tensor

from project.data.location import check_readable, is_parquet, locate
from project.data.numbers import numbers
from project.runtime.arrow import CellError, is_number
from project.runtime.errors import UserError
from project.schema.category import sorted_levels
from project.schema.spelling import as_text

BLOCK_ROWS = 16_384
MAX_NAMES = 20


def column_names(path: str | Path) -> list[str]:
    """Return the names of a table's columns, without reading its rows; raise a UserError unless they are distinct."""
    check_readable(path)
    with _reading(path):
        if is_parquet(path):
            names = _dataset(path).schema.names
        else:
            with _open_csv(path) as reader:
                names = reader.schema.names
    if not names:
        problem = "no columns; a table needs a header, and a folder needs Parquet files"
    elif all(is_number(name) for name in names):
        problem = f"the first line holds numbers ({', '.join(names[:3])}, …); add a line of column names above it"
    elif (repeated := first_repeated(names)) is not None:
        problem = f"two columns are named {repeated!r}; rename one of them"
    else:
        return names
    raise UserError(f"{path}: {problem}")


def first_repeated(names: list[str]) -> str | None:
    """Return the first name that occurs more than once, if any."""
    counts = Counter(names)  # a header may hold a hundred thousand names
    return next((name for name in names if counts[name] > 1), None)


def require_columns(path: str | Path, wanted: list[str], present: list[str], flag: str) -> None:
    """Raise a UserError unless `wanted` names at least one column, only columns that are present, and each once.

    The error includes `flag`, a flag or phrase that says where `wanted` comes from.
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
    if len(present) == 1 and any(separator in present[0] for separator in ";\t|"):
        hint = f"separate the columns by commas, not as in {present[0]!r}"
    raise UserError(f"{path}: {problem} ({flag}); {hint}")


def first_rows(path: str | Path) -> pa.Table:
    """Read the first block of a table; the types of a CSV file's columns are those of its first rows."""
    with _reading(path):
        if is_parquet(path):
            schema = _dataset(path).schema
            table = pa.Table.from_batches(islice(_blocks(path, dict.fromkeys(schema.names)), 1), schema)
        else:
            with _open_csv(path) as reader:
                table = pa.Table.from_batches(islice(reader, 1), reader.schema)
    if not len(table):
        raise UserError(f"{path}: no rows below the header")
    return table


def read_table(path: str | Path, columns: list[str], texts: Collection[str] = ()) -> pa.Table:
    """Read columns of a table; the types of a CSV file's columns fit all of its rows, and `texts` stay text."""
    with _reading(path):
        if is_parquet(path):
            return _dataset(path).to_table(columns=columns)
        system, inner = locate(path)
        types = dict.fromkeys(texts, pa.string())
        convert = pyarrow.csv.ConvertOptions(include_columns=columns, column_types=types, strings_can_be_null=True)
        return pyarrow.csv.read_csv(system.open_input_stream(inner), convert_options=convert)


def table_blocks(path: str | Path, columns: list[str], numeric: Collection[str]) -> Iterator[pa.Table]:
    """Read columns of a table block by block, in bounded memory; those of a CSV file as numbers or as text."""
    done = 0
    with _reading(path):
        types = {name: pa.float64() if name in numeric else pa.string() for name in columns}
        try:
            for block in _blocks(path, types):
                yield pa.Table.from_batches([block])
                done += len(block)
            return
        except (pa.ArrowInvalid, OSError) as error:  # OSError: of Parquet
            if "conversion error" not in str(error):
                raise
        row = 0  # pyarrow could not convert a value: read on as text, which accepts more spellings
        for block in _blocks(path, dict.fromkeys(columns, pa.string())):
            if row >= done:
                yield pa.Table.from_batches([block])
            row += len(block)


def read_numbers(path: str | Path, columns: list[str], hint: str = "correct it") -> Tensor:
    """Read columns of a table as numbers (rows, columns) in float64, with NaN for missing values.

    A UserError names the first value that is not a number, or not a finite float32; row 1 is below the header.
    """
    blocks, done = [torch.empty(0, len(columns), dtype=torch.float64)], 0
    for block in table_blocks(path, columns, columns):
        blocks.append(numbers(path, block.select(columns), first_row=done + 1, hint=hint))
        done += len(block)
    return torch.cat(blocks)


def distinct_labels(path: str | Path, column: str) -> list[str]:
    """Read the distinct labels of a column, in bounded memory, ordered by `sorted_levels`."""
    found: set[str | None] = set()
    with _reading(path):
        for block in _blocks(path, {column: pa.string()}):
            found.update(pc.unique(label_text(path, pa.chunked_array([block.column(0)]), column)).to_pylist())
    return sorted_levels(found)


def label_text(path: str | Path, values: pa.ChunkedArray, column: str) -> pa.ChunkedArray:
    """Convert a column of labels to text, null where one is missing."""
    try:
        return as_text(values)
    except CellError:
        raise UserError(f"{path}: column {column!r} is {values.type}; classes must be text or integers") from None


def stream(path: str | Path) -> tuple[pa.Schema, Iterator[pa.RecordBatch]]:
    """Return a table's schema, and its rows block by block, in order and in bounded memory.

    The values of a CSV file are text, as in the file: a type guessed from the first rows may not fit later rows.
    """
    names = column_names(path)
    if is_parquet(path):
        return _dataset(path).schema, _blocks(path, dict.fromkeys(names))

    def blocks() -> Iterator[pa.RecordBatch]:
        with _reading(path):
            yield from _blocks(path, dict.fromkeys(names, pa.string()), nulls=False)

    return pa.schema([(name, pa.string()) for name in names]), blocks()


def _blocks(path: str | Path, types: Mapping[str, pa.DataType | None], nulls: bool = True) -> Iterator[pa.RecordBatch]:
    """Read columns by name; those of a CSV file are converted to the given types."""
    if is_parquet(path):
        for file in _dataset(path).get_fragments():
            for group in file.split_by_row_group():  # a scan of the whole file reads ahead, far beyond bounded memory
                yield from group.to_batches(columns=list(types), batch_size=BLOCK_ROWS, batch_readahead=0)
        return
    options = {"include_columns": list(types), "column_types": dict(types), "strings_can_be_null": nulls}
    with _open_csv(path, pyarrow.csv.ConvertOptions(**options)) as reader:
        yield from reader


def _dataset(path: str | Path) -> pyarrow.dataset.Dataset:
    system, inner = locate(path)
    return pyarrow.dataset.dataset(inner, filesystem=system, format="parquet")


def _open_csv(path: str | Path, convert: pyarrow.csv.ConvertOptions | None = None) -> pyarrow.csv.CSVStreamingReader:
    system, inner = locate(path)
    return pyarrow.csv.open_csv(system.open_input_stream(inner), convert_options=convert)


@contextmanager
def _reading(path: str | Path) -> Iterator[None]:
    """Turn pyarrow's errors into a UserError that names the file, and the row where pyarrow can find it."""
    try:
        yield
    except (pa.ArrowInvalid, UnicodeDecodeError, OSError) as error:
        located: Exception = error
        try:
            if not is_parquet(path):  # only a single thread counts rows
                system, inner = locate(path)
                options = pyarrow.csv.ReadOptions(use_threads=False)
                pyarrow.csv.read_csv(system.open_input_stream(inner), read_options=options)
        except (pa.ArrowInvalid, OSError) as other:
            located = other
        # Leave out what follows the counts of columns: it is the whole row.
        line = re.sub(r"(Expected \d+ columns, got \d+):.*", r"\1", str(located).splitlines()[0])
        raise UserError(f"{path}: {line}") from error
