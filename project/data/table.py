"""Tables on disk, CSV and Parquet, as numbers. A value that is not a number is an error that names its place."""

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.dataset
import torch
from torch import Tensor

from project.data.location import check_readable, is_parquet, locate
from project.data.numbers import is_number, numbers
from project.runtime.arrow import MISSING
from project.runtime.errors import UserError

BLOCK_ROWS = 16_384
NumberBlocks = Iterator[tuple[Tensor, pa.Array | None]]


def column_names(path: str | Path) -> list[str]:
    """The names of a table's columns, without reading its rows.

    Raises:
        UserError: If the file is missing, empty, unreadable or without a header, or names a column twice.
    """
    check_readable(path)
    try:
        if is_parquet(path):
            names = _dataset(path).schema.names
        else:
            with _open_csv(path) as reader:
                names = reader.schema.names
    except (pa.ArrowInvalid, UnicodeDecodeError, OSError) as error:
        raise _unreadable(path, error) from error
    if not names:
        raise UserError(f"{path}: no columns: give a folder with Parquet files in it, or a table with a header")
    if all(is_number(name) for name in names):
        shown = ", ".join(names[:3])
        raise UserError(
            f"{path}: the first line ({shown}, …) holds numbers, not names: put a line of column names first"
        )
    if (twice := first_repeated(names)) is not None:
        raise UserError(f"{path}: column {twice!r} comes twice: rename one of them")
    return names


def first_repeated(names: list[str]) -> str | None:
    """The first name that comes more than once, if any."""
    counts = Counter(names)  # a header may hold a hundred thousand names
    return next((name for name in names if counts[name] > 1), None)


def require_columns(path: str | Path, wanted: list[str], present: list[str], flag: str) -> None:
    """Raise a UserError that names the first wanted column that is not present."""
    known = set(present)
    for name in wanted:
        if name not in known:
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
    blocks = [block for block, _ in number_blocks(path, columns, mend)]
    return torch.cat(blocks) if blocks else torch.empty(0, len(columns), dtype=torch.float64)


def number_blocks(
    path: str | Path, columns: list[str], mend: str = "mend it", labels: str | None = None
) -> NumberBlocks:
    """As `read_numbers`, block by block, in bounded memory.

    Args:
        path: A CSV file, a Parquet file or a folder of Parquet files.
        columns: Names of the columns, in the order they are wanted.
        mend: What to do about text in a column, for errors.
        labels: A column whose values are wanted as text beside the numbers.

    Yields:
        Numbers (rows, columns) in float64, NaN where missing, and the labels, None where missing or not wanted.
    """
    texts = [labels] if labels else []
    kinds = dict.fromkeys(columns, pa.float64()) | dict.fromkeys(texts, pa.string())
    done = 0
    try:
        for block in _blocks(path, kinds):
            yield _numbers_and_labels(path, block, columns, labels, done, mend)
            done += len(block)
    except (pa.ArrowInvalid, OSError) as error:  # OSError: of Parquet
        if "conversion error" not in str(error):
            raise _unreadable(path, error) from error
        # One value is not a number: go on in text, whose conversion takes more spellings, or says which row it is.
        row = 0
        for block in _readable(path, _blocks(path, dict.fromkeys([*columns, *texts], pa.string()))):
            if row >= done:
                yield _numbers_and_labels(path, block, columns, labels, row, mend)
            row += len(block)


def distinct_labels(path: str | Path, column: str) -> list[str]:
    """Every label of a column once, in order, and in bounded memory: of numbers where all are, else of text."""
    labels: set[str | None] = set()
    for block in _readable(path, _blocks(path, {column: pa.string()})):
        labels.update(pc.unique(_text(path, block.column(0), column)).to_pylist())
    return sorted_labels(list(labels))


def _numbers_and_labels(
    path: str | Path, block: pa.RecordBatch, columns: list[str], labels: str | None, row: int, mend: str
) -> tuple[Tensor, pa.Array | None]:
    table = pa.Table.from_batches([block])
    text = None if labels is None else _text(path, block.column(labels), labels)
    return numbers(path, table.select(columns), first_row=row + 1, mend=mend), text


def _text(path: str | Path, values: pa.Array, column: str) -> pa.Array:
    """Labels as they are spelled, without spaces around them; null where missing."""
    values = values.cast(values.type.value_type) if pa.types.is_dictionary(values.type) else values
    if pa.types.is_nested(values.type):
        raise UserError(f"{path}: column {column!r} is {values.type}: classes are text or integers")
    values = pc.utf8_trim_whitespace(values.cast(pa.string()))
    return pc.if_else(pc.is_in(values, MISSING), pa.scalar(None, pa.string()), values)


def sorted_labels(labels: list[str | None]) -> list[str]:
    """Each label once, in order: of numbers where all are, else of text."""
    names = {label for label in labels if label is not None}
    if not all(map(is_number, names)):
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
        return _dataset(path).schema, _blocks(path, dict.fromkeys(names))
    schema = pa.schema([(name, pa.string()) for name in names])
    return schema, _readable(path, _blocks(path, dict.fromkeys(names, pa.string()), nulls=False))


def _blocks(path: str | Path, kinds: Mapping[str, pa.DataType | None], nulls: bool = True) -> Iterator[pa.RecordBatch]:
    """Some columns of a table, in order; a CSV file's are taken as the kinds given."""
    if is_parquet(path):
        for file in _dataset(path).get_fragments():
            for group in file.split_by_row_group():  # a scan of all would read ahead, far beyond bounded memory
                yield from group.to_batches(columns=list(kinds), batch_size=BLOCK_ROWS, batch_readahead=0)
        return
    convert = pyarrow.csv.ConvertOptions(
        include_columns=list(kinds), column_types=dict(kinds), strings_can_be_null=nulls
    )
    with _open_csv(path, convert) as reader:
        yield from reader


def _dataset(path: str | Path) -> pyarrow.dataset.Dataset:
    system, inner = locate(path)
    return pyarrow.dataset.dataset(inner, filesystem=system, format="parquet")


def _open_csv(path: str | Path, convert: pyarrow.csv.ConvertOptions | None = None) -> pyarrow.csv.CSVStreamingReader:
    system, inner = locate(path)
    return pyarrow.csv.open_csv(system.open_input_stream(inner), convert_options=convert)


def _readable(path: str | Path, blocks: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    try:
        yield from blocks
    except (pa.ArrowInvalid, OSError) as error:
        raise _unreadable(path, error) from error


def _unreadable(path: str | Path, error: Exception) -> UserError:
    """What is wrong with a file, with the row where reading in one thread can tell."""
    if not is_parquet(path):
        system, inner = locate(path)
        try:
            pyarrow.csv.read_csv(
                system.open_input_stream(inner), read_options=pyarrow.csv.ReadOptions(use_threads=False)
            )
        except (pa.ArrowInvalid, OSError) as located:
            error = located
    line = re.sub(r"(Expected \d+ columns, got \d+):.*", r"\1", str(error).splitlines()[0])  # the rest is the row
    return UserError(f"{path}: {line}")
