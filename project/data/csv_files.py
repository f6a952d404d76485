"""Reading of CSV files, and of folders of them, with pyarrow."""

import re
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv
from lightning.pytorch.utilities import rank_zero_warn

from project.data.csv_format import SEPARATORS, CSVFormat, Found, find_format
from project.data.csv_numbers import with_plain_numbers, written_numbers
from project.data.location import check_readable, csv_parts, is_parquet
from project.runtime.arrow import is_number
from project.runtime.errors import UserError


def report_format(path: str | Path, given: CSVFormat) -> None:
    """Print a warning with what was inferred about an unusual CSV file, such as another separator."""
    check_readable(path)
    if is_parquet(path):
        return
    found = find_format(path, given)
    with csv_errors(path, given):
        first = next(csv_blocks(path, given), None)
    written = {} if first is None else written_numbers(pa.Table.from_batches([first]), found.decimal)
    examples = [f"{name} (as {value!r})" for name, value in written.items() if not is_number(value)]
    parts = [
        f"its first {found.skipped} lines are skipped" * (found.skipped > 1),
        "its first line is skipped" * (found.skipped == 1),
        f"its values are separated by {SEPARATORS.get(found.separator, found.separator)}" * (found.separator != ","),
        "its numbers have a decimal comma" * (found.decimal == ","),
        f"its text is encoded in {found.encoding}" * (found.encoding != "utf8"),
        f"read as numbers: {', '.join(examples)}" * bool(examples),
    ]
    if any(parts):
        rank_zero_warn(f"{path}: {', '.join(filter(None, parts))}; if that is wrong, set --data.csv or --data.kinds")


def _options(path: str | Path, given: CSVFormat) -> tuple[Found, dict[str, Any]]:
    found = find_format(path, given)
    read = pyarrow.csv.ReadOptions(encoding=found.encoding, skip_rows=found.skipped)
    if found.names is not None:
        read.column_names, read.skip_rows = found.names, found.skipped + 1
    return found, {"parse_options": pyarrow.csv.ParseOptions(delimiter=found.separator), "read_options": read}


def csv_columns(path: str | Path, given: CSVFormat) -> list[str]:
    """Return the column names of a CSV file, or of the CSV files in a folder.

    Raises:
        UserError: If files of a folder have different columns.
    """
    _, options = _options(path, given)
    names = []
    for system, inner in csv_parts(path):
        with pyarrow.csv.open_csv(system.open_input_stream(inner), **options) as reader:
            names.append(reader.schema.names)
    for (one, other), (_, inner) in zip(pairwise(names), csv_parts(path)[1:], strict=True):
        if one != other:
            raise UserError(f"{path}: {Path(inner).name} has the columns {', '.join(other)}, others {', '.join(one)}")
    return names[0]


def read_csv(
    path: str | Path, given: CSVFormat, columns: list[str], texts: Collection[str], mixed: Collection[str] = ()
) -> pa.Table:
    """Read columns of a CSV file, or of the CSV files in a folder, with types that fit all rows.

    Args:
        path: The file or folder.
        given: Its format.
        columns: The columns to read.
        texts: Columns that stay text.
        mixed: Columns that are first read as text, and converted to numbers if most of their values are numbers.
    """
    found, options = _options(path, given)
    types = dict.fromkeys([*texts, *mixed], pa.string())
    convert = pyarrow.csv.ConvertOptions(
        include_columns=columns, column_types=types, strings_can_be_null=True, decimal_point=found.decimal
    )
    tables = [
        pyarrow.csv.read_csv(system.open_input_stream(inner), convert_options=convert, **options)
        for system, inner in csv_parts(path)
    ]
    different = [name for name in columns if len({table.schema.field(name).type for table in tables}) > 1]
    try:
        table = pa.concat_tables(tables, promote_options="permissive")
    except (pa.ArrowTypeError, pa.ArrowInvalid):  # numbers in one file, and text in another
        return read_csv(path, given, columns, texts, different)
    others = table.select([name for name in table.column_names if name not in texts])
    numbers = written_numbers(others, found.decimal)
    return with_plain_numbers(table, found.decimal, numbers)


def csv_blocks(
    path: str | Path, given: CSVFormat, types: Mapping[str, pa.DataType | None] | None = None, nulls: bool = True
) -> Iterator[pa.RecordBatch]:
    """Read columns of a CSV file, or of the CSV files in a folder, block by block.

    Args:
        path: The file or folder.
        given: Its format.
        types: The columns and their types; by default all columns, with types that fit the first block.
        nulls: Whether an empty text is a missing value.
    """
    found, options = _options(path, given)
    convert = pyarrow.csv.ConvertOptions(strings_can_be_null=nulls, decimal_point=found.decimal)
    if types is not None:
        convert.include_columns, convert.column_types = list(types), dict(types)
    for system, inner in csv_parts(path):
        with pyarrow.csv.open_csv(system.open_input_stream(inner), convert_options=convert, **options) as reader:
            yield from reader


@contextmanager
def csv_errors(path: str | Path, given: CSVFormat) -> Iterator[None]:
    """Convert errors of pyarrow to a UserError with the file, and with the row if pyarrow can find it."""
    try:
        yield
    except (pa.ArrowInvalid, UnicodeError, OSError) as error:
        located: Exception = error
        _, options = _options(path, given)
        options["read_options"].use_threads = False  # pyarrow counts rows only with a single thread
        try:
            for system, inner in csv_parts(path):
                pyarrow.csv.read_csv(system.open_input_stream(inner), **options)
        except (pa.ArrowInvalid, UnicodeError, OSError) as other:
            located = other
        # Leave out the rest of the message, which is the whole row.
        line = re.sub(r"(Expected \d+ columns, got \d+):.*", r"\1", str(located).splitlines()[0])
        raise UserError(f"{path}: {line}") from error
