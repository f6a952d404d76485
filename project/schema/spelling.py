"""Normalization of spellings, so that equal values from CSV, Parquet and JSON become the same text."""

from collections.abc import Iterable, Sequence

import pyarrow as pa
import pyarrow.compute as pc

from project.runtime.arrow import MISSING, CellError

TRUE_AND_FALSE = [("true", "false"), ("yes", "no"), ("t", "f"), ("y", "n"), ("on", "off"), ("1", "0")]
TRUE, FALSE = (pa.array(words) for words in zip(*TRUE_AND_FALSE, strict=True))


def is_text(kind: pa.DataType) -> bool:
    """Whether values of a type are text."""
    return pa.types.is_string(kind) or pa.types.is_large_string(kind)


def as_text(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Convert a column to text without surrounding spaces; missing values become null.

    Equal values get the same spelling: `1.0` and `1` become `1`, `1.50` becomes `1.5`, and `True` becomes `true`.

    Raises:
        CellError: If the values cannot be converted to text, such as lists.
    """
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if pa.types.is_nested(column.type) or pa.types.is_binary(column.type) or pa.types.is_large_binary(column.type):
        raise CellError(f"is {column.type}, which has no levels")
    coded = (
        column.cast(pa.string()).combine_chunks().dictionary_encode()
    )  # so that each distinct value is converted once
    text = pc.utf8_trim_whitespace(coded.dictionary)
    text = pc.replace_substring_regex(text, r"^(-?(?:0|[1-9]\d*))\.0*$", r"\1")
    text = pc.replace_substring_regex(text, r"^(-?(?:0|[1-9]\d*)\.\d*?[1-9])0+$", r"\1")
    text = pc.if_else(pc.match_substring_regex(text, "^(?i:true|false)$"), pc.utf8_lower(text), text)
    text = pc.if_else(pc.is_in(text, MISSING), pa.scalar(None, pa.string()), text)
    return pa.chunked_array([text.take(coded.indices)])


def spellings(values: Iterable[str | float]) -> list[str]:
    """Return the distinct texts to which `as_text` converts values, sorted, without missing ones."""
    text = as_text(pa.chunked_array([[str(value) for value in values]], pa.string()))
    return sorted(set(text.drop_null().to_pylist()))


def without_values(column: pa.ChunkedArray, missing: Sequence[str]) -> pa.ChunkedArray:
    """Replace the values with the spellings `missing` by null.

    Raises:
        CellError: If the values cannot be converted to text.
    """
    if not missing:
        return column
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    is_missing = pc.is_in(as_text(column), pa.array(missing, pa.string()))
    return pc.if_else(is_missing, pa.scalar(None, column.type), column)


def as_booleans(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Convert a column of booleans, numbers 0 and 1, or words such as `yes` and `no` to booleans.

    Missing values become null.

    Raises:
        CellError: If a value is none of these, with the row of the first one.
    """
    if pa.types.is_boolean(column.type):
        return column
    words = pc.utf8_lower(as_text(column))
    is_true, is_false = pc.is_in(words, TRUE), pc.is_in(words, FALSE)
    wrong = pc.and_(pc.is_valid(words), pc.invert(pc.or_(is_true, is_false)))
    if pc.any(wrong).as_py():
        row = pc.index(wrong, True).as_py()
        raise CellError(f"{column[row].as_py()!r} is neither true nor false", row)
    return pc.if_else(pc.is_valid(words), is_true, pa.scalar(None, pa.bool_()))
