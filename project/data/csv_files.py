"""CSV files as they come: how one is written is read off its first lines."""

import csv
import re
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
from lightning.pytorch.utilities import rank_zero_warn

from project.data.location import check_readable, csv_parts, is_parquet
from project.runtime.errors import UserError

SAMPLE_BYTES, SAMPLE_LINES = 2**16, 50
SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}
BYTE_ORDER_MARKS = {b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}
DECIMAL_COMMA, DECIMAL_POINT = re.compile(r"\s*-?\d+,\d+\s*"), re.compile(r"\s*-?\d+\.\d+\s*")


class CSVFormat(NamedTuple):
    """How a CSV file is written."""

    separator: str = ","
    decimal: str = "."
    encoding: str = "utf8"
    names: list[str] | None = None  # of the columns, if the header has spaces around them


def csv_format(path: str | Path) -> CSVFormat:
    """Return how a CSV file, or the first one of a folder, is written."""
    system, inner = csv_parts(path)[0]
    with system.open_input_stream(inner) as stream:
        sample = stream.read(SAMPLE_BYTES)
    encoding = BYTE_ORDER_MARKS.get(sample[:2]) or _encoding(sample)
    lines = sample.decode(encoding, "ignore").splitlines()[:SAMPLE_LINES]
    separator = _separator(lines)
    cells = [cell for row in csv.reader(lines[1:], delimiter=separator) for cell in row]
    commas, points = (sum(map(bool, map(form.fullmatch, cells))) for form in (DECIMAL_COMMA, DECIMAL_POINT))
    header = next(csv.reader(lines, delimiter=separator, skipinitialspace=True), [])
    raw = next(csv.reader(lines, delimiter=separator), [])
    names = [name.strip() for name in header]
    decimal = "," if separator != "," and commas and not points else "."
    return CSVFormat(separator, decimal, encoding, None if names == raw else names)


def report_format(path: str | Path) -> None:
    """Warn of a CSV file that is not written as most are."""
    check_readable(path)
    if is_parquet(path):
        return
    found = csv_format(path)
    parts = [
        f"its values are separated by {SEPARATORS[found.separator]}" * (found.separator != ","),
        "its numbers have a decimal comma" * (found.decimal == ","),
        f"its text is encoded in {found.encoding}" * (found.encoding != "utf8"),
    ]
    if any(parts):
        rank_zero_warn(f"{path}: {', '.join(filter(None, parts))}")


def _encoding(sample: bytes) -> str:
    """Return UTF-8 if the bytes are that, but for a letter that is cut off at the end, otherwise Windows' Latin 1."""
    try:
        sample.decode("utf8")
    except UnicodeDecodeError as error:
        return "utf8" if error.start >= len(sample) - 3 and len(sample) == SAMPLE_BYTES else "cp1252"
    return "utf8"


def _separator(lines: list[str]) -> str:
    """Return the separator with which the most lines have as many cells as the header; the comma if in doubt."""

    def alike(separator: str) -> int:
        sizes = [len(row) for row in csv.reader(lines, delimiter=separator) if row]
        return sum(size == sizes[0] for size in sizes) if sizes and sizes[0] > 1 else 0

    return max(SEPARATORS, key=alike)


def _options(path: str | Path) -> tuple[CSVFormat, dict[str, Any]]:
    found = csv_format(path)
    read = pyarrow.csv.ReadOptions(encoding=found.encoding)
    if found.names is not None:
        read.column_names, read.skip_rows = found.names, 1
    return found, {"parse_options": pyarrow.csv.ParseOptions(delimiter=found.separator), "read_options": read}


def csv_columns(path: str | Path) -> list[str]:
    """Return the names of the columns of a CSV file, or of all CSV files of a folder, which must have the same."""
    _, options = _options(path)
    names = []
    for system, inner in csv_parts(path):
        with pyarrow.csv.open_csv(system.open_input_stream(inner), **options) as reader:
            names.append(reader.schema.names)
    for (one, other), (_, inner) in zip(pairwise(names), csv_parts(path)[1:], strict=True):
        if one != other:
            raise UserError(f"{path}: {Path(inner).name} has the columns {', '.join(other)}, others {', '.join(one)}")
    return names[0]


def read_csv(path: str | Path, columns: list[str], texts: Collection[str]) -> pa.Table:
    """Read columns of a CSV file, or of all in a folder, with types that fit all rows; `texts` stay text."""
    found, options = _options(path)
    types = dict.fromkeys(texts, pa.string())
    convert = pyarrow.csv.ConvertOptions(
        include_columns=columns, column_types=types, strings_can_be_null=True, decimal_point=found.decimal
    )
    tables = [
        pyarrow.csv.read_csv(system.open_input_stream(inner), convert_options=convert, **options)
        for system, inner in csv_parts(path)
    ]
    different = [name for name in columns if len({table.schema.field(name).type for table in tables}) > 1]
    try:
        return pa.concat_tables(tables, promote_options="permissive")
    except (pa.ArrowTypeError, pa.ArrowInvalid):  # numbers in one file, and text in another
        return read_csv(path, columns, {*texts, *different})


def csv_blocks(
    path: str | Path, types: Mapping[str, pa.DataType | None] | None = None, nulls: bool = True
) -> Iterator[pa.RecordBatch]:
    """Read columns of a CSV file, or of all in a folder, block by block, and convert them to the given types.

    Without types, all columns are read, with types that fit the first block.
    """
    found, options = _options(path)
    convert = pyarrow.csv.ConvertOptions(strings_can_be_null=nulls, decimal_point=found.decimal)
    if types is not None:
        convert.include_columns, convert.column_types = list(types), dict(types)
    for system, inner in csv_parts(path):
        with pyarrow.csv.open_csv(system.open_input_stream(inner), convert_options=convert, **options) as reader:
            yield from reader


def has_decimal_commas(path: str | Path) -> bool:
    """Whether a table is a CSV file whose numbers have decimal commas."""
    return not is_parquet(path) and csv_format(path).decimal == ","


def with_decimal_points(table: pa.Table, columns: Collection[str]) -> pa.Table:
    """Return a table of text with decimal points for the decimal commas in some columns."""
    for name in columns:
        place = table.column_names.index(name)
        table = table.set_column(place, name, pc.replace_substring(table.column(name), ",", "."))
    return table


@contextmanager
def csv_errors(path: str | Path) -> Iterator[None]:
    """Turn pyarrow's errors into a UserError that names the file, and the row where pyarrow can find it."""
    try:
        yield
    except (pa.ArrowInvalid, UnicodeError, OSError) as error:
        located: Exception = error
        _, options = _options(path)
        options["read_options"].use_threads = False  # only a single thread counts rows
        try:
            for system, inner in csv_parts(path):
                pyarrow.csv.read_csv(system.open_input_stream(inner), **options)
        except (pa.ArrowInvalid, UnicodeError, OSError) as other:
            located = other
        # Leave out what follows the counts of columns: it is the whole row.
        line = re.sub(r"(Expected \d+ columns, got \d+):.*", r"\1", str(located).splitlines()[0])
        raise UserError(f"{path}: {line}") from error
