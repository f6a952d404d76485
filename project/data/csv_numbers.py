"""Conversion of numbers as people and spreadsheets write them: `1,234.50`, `1.234,50`, `$ 99`, `12.5 %`."""

import re
from collections.abc import Collection

import pyarrow as pa
import pyarrow.compute as pc

from project.runtime.arrow import is_number
from project.schema.spelling import is_text

SIGN, UNIT = "[-+\u2212]?", "[$€£¥%]?"
SPACES = " '\u2019\u00a0\u202f"  # separators of groups of three digits, besides a point or a comma
SAMPLE_ROWS = 1_000


def with_plain_numbers(table: pa.Table, decimal: str, columns: Collection[str]) -> pa.Table:
    """Remove separators of thousands and units from numbers in text columns, and replace decimal commas by points.

    Args:
        table: The table.
        decimal: Its decimal mark, a point or a comma.
        columns: Names of the columns to convert. Values that are not numbers are not changed.
    """
    for name in columns:
        if is_text((column := table.column(name)).type):
            table = table.set_column(table.column_names.index(name), name, _plain(column, decimal))
    return table


def written_numbers(table: pa.Table, decimal: str) -> dict[str, str]:
    """Return the text columns whose first values are mostly numbers, each with an example."""
    found = {}
    for name, column in zip(table.column_names, table.columns, strict=True):
        if not is_text(column.type):
            continue
        column = column.drop_null().slice(0, SAMPLE_ROWS)
        numbers = column.filter(pc.match_substring_regex(column, _pattern(decimal)))
        if 2 * len(numbers) > len(column):
            texts = numbers.to_pylist()
            found[name] = next((text for text in texts if not is_number(text)), texts[0])
    return found


def _pattern(decimal: str) -> str:
    point, group = re.escape(decimal), f"[{SPACES}{_other(decimal)}]"
    digits = rf"(\d{{1,3}}({group}\d{{3}})+({point}\d+)?|\d+({point}\d*)?|{point}\d+)"
    return rf"^\s*{UNIT}\s*{SIGN}\s*{UNIT}\s*{digits}([eE][-+]?\d+)?\s*{UNIT}\s*$"


def _other(decimal: str) -> str:
    return "," if decimal == "." else "."


def _plain(column: pa.ChunkedArray, decimal: str) -> pa.ChunkedArray:
    bare = pc.replace_substring(column, "\u2212", "-")
    bare = pc.replace_substring_regex(bare, rf"[$€£¥%\s{SPACES}{_other(decimal)}]", "")
    bare = pc.replace_substring(bare, decimal, ".")
    return pc.if_else(pc.match_substring_regex(column, _pattern(decimal)), bare, column)
