"""Infer of what kind each column of a table is."""

from collections.abc import Iterable, Mapping

import pyarrow as pa
import pyarrow.compute as pc

from project.runtime.arrow import CellError, is_number
from project.schema.dates import find_format, parse_dates
from project.schema.field import Missing
from project.schema.schema import KINDS, Schema
from project.schema.spelling import TRUE_AND_FALSE, as_text, is_text

FEW_LEVELS = 20  # a text column with no more levels is a category even in a short table
MAX_LEVELS = 10_000
SAMPLE = 1_000  # distinct values from which numbers and dates are recognised
IGNORED = "ignore"


class UnknownKindError(ValueError):
    """No kind suits some columns; `problems` has what is wrong by column."""

    def __init__(self, problems: Mapping[str, str]) -> None:
        self.problems = dict(problems)
        super().__init__("; ".join(f"{name} {problem}" for name, problem in problems.items()))


def infer_schema(table: pa.Table, names: Iterable[str], kinds: Mapping[str, str], missing: Missing) -> Schema:
    """Return a schema that has learned nothing yet, for the columns `names`, of which `kinds` fixes some.

    Raises:
        UnknownKindError: For all columns that are free text, have no values, or are of a type without a kind.
    """
    fields, problems = [], dict[str, str]()
    for name in names:
        try:
            kind = kinds.get(name) or infer_kind(table.column(name))
            fields.append(KINDS[kind](name, missing))
        except CellError as error:
            problems[name] = str(error)
    if problems:
        raise UnknownKindError(problems)
    return Schema(fields)


def infer_kind(column: pa.ChunkedArray) -> str:
    """Return the word for the kind of a column; a CellError says why there is none."""
    if column.null_count == len(column):
        raise CellError("has no values")
    if pa.types.is_boolean(column.type):
        return "boolean"
    if pa.types.is_integer(column.type) or pa.types.is_floating(column.type) or pa.types.is_decimal(column.type):
        return "number"
    if pa.types.is_date(column.type) or pa.types.is_timestamp(column.type):
        return "date"
    if pa.types.is_dictionary(column.type):
        return "category"
    if not is_text(column.type):
        raise CellError(f"is {column.type}")
    return _kind_of_text(as_text(column))


def _kind_of_text(text: pa.ChunkedArray) -> str:
    valid = text.drop_null()
    distinct = pc.unique(valid)
    levels = len(distinct)
    if not levels:
        raise CellError("has no values")
    if levels <= 2 and any(set(pc.utf8_lower(distinct).to_pylist()) <= set(pair) for pair in TRUE_AND_FALSE):
        return "boolean"
    sample = distinct.slice(0, SAMPLE)
    if 2 * sum(map(is_number, sample.to_pylist())) > len(sample):  # a mistyped number is named with its row later
        return "number"
    times = pa.chunked_array([sample])
    if not parse_dates(times, find_format(times)).null_count:
        return "date"
    if levels > MAX_LEVELS or (levels > FEW_LEVELS and 2 * levels > len(valid)):
        raise CellError(f"is free text: {levels:,} distinct values in {len(valid):,} rows")
    return "category"
