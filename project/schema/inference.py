"""Inference of the kind of each column of a table."""

from collections.abc import Iterable, Mapping, Sequence

import pyarrow as pa
import pyarrow.compute as pc

from project.runtime.arrow import CellError, is_number
from project.schema.dates import find_format, parse_dates
from project.schema.field import Missing
from project.schema.schema import KINDS, Schema
from project.schema.spelling import TRUE_AND_FALSE, as_text, is_text, without_values

FEW_LEVELS = 20  # a text column with at most as many levels is a category even in a short table
MAX_LEVELS = 10_000
SAMPLE = 1_000  # number of distinct values from which numbers and dates are recognised
IGNORED = "ignore"
# Marks that people use for a missing number, in addition to those that pyarrow recognises.
GAP_MARKS = ("?", "-", "--", "*", ".")


class UnknownKindError(ValueError):
    """No kind can be inferred for some columns.

    Attributes:
        problems: For each of these columns, what is wrong.
    """

    def __init__(self, problems: Mapping[str, str]) -> None:
        self.problems = dict(problems)
        super().__init__("; ".join(f"{name} {problem}" for name, problem in problems.items()))


def infer_schema(
    table: pa.Table,
    names: Iterable[str],
    kinds: Mapping[str, str],
    missing: Missing,
    missing_values: Sequence[str] | None = None,
) -> Schema:
    """Return an unfitted schema for some columns of a table.

    Args:
        table: The table.
        names: The columns.
        kinds: The kind of some columns; that of the others is inferred.
        missing: Treatment of missing values.
        missing_values: Spellings of missing values; by default marks such as `?` in columns of numbers.

    Raises:
        UnknownKindError: If columns are free text, have no values, or have a type that belongs to no kind.
    """
    fields, problems = [], dict[str, str]()
    for name in names:
        try:
            column = without_values(table.column(name), missing_values or [])
            field = KINDS[kinds.get(name) or infer_kind(column)](name, missing)
            field.missing_values = _gap_marks(field.kind, column) if missing_values is None else [*missing_values]
            fields.append(field)
        except CellError as error:
            problems[name] = str(error)
    if problems:
        raise UnknownKindError(problems)
    return Schema(fields)


def _gap_marks(kind: str, column: pa.ChunkedArray) -> list[str]:
    """Return the mark of missing values in a column of numbers: the only text that is not a number, if it is a mark."""
    if kind != "number" or not is_text(column.type):
        return []
    others = [text for text in pc.unique(as_text(column)).to_pylist() if text is not None and not is_number(text)]
    return others if len(others) == 1 and others[0] in GAP_MARKS else []


def infer_kind(column: pa.ChunkedArray) -> str:
    """Return the name of the kind of a column.

    Raises:
        CellError: If it is free text, has no values, or has a type that belongs to no kind.
    """
    if is_text(column.type):
        column = as_text(column)  # spellings such as "NA" become null
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
    return _infer_text_kind(column)


def _infer_text_kind(text: pa.ChunkedArray) -> str:
    valid = text.drop_null()
    distinct = pc.unique(valid)
    levels = len(distinct)
    if levels <= 2 and any(set(pc.utf8_lower(distinct).to_pylist()) <= set(pair) for pair in TRUE_AND_FALSE):
        return "boolean"
    sample = distinct.slice(0, SAMPLE)
    if 2 * sum(map(is_number, sample.to_pylist())) > len(sample):  # `parse` reports mistyped numbers with their row
        return "number"
    times = pa.chunked_array([sample])
    if not parse_dates(times, find_format(times)).null_count:
        return "date"
    if levels > MAX_LEVELS or (levels > FEW_LEVELS and 2 * levels > len(valid)):
        raise CellError(f"is free text: {levels:,} distinct values in {len(valid):,} rows")
    return "category"
