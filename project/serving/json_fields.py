"""Rows of a JSON request whose features are of several kinds, as the columns of a table."""

import sys
from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from project.schema import Field, Schema
from project.schema.image import Image
from project.serving.images import image_bytes
from project.serving.inputs import FLOAT32_MAX, NOT_FLOAT32
from project.serving.request_error import quoted, require

TYPES = {"number": pa.float64(), "image": pa.binary()}  # of the columns by kind; others are text


def table_of(rows: Sequence[Any], schema: Schema, image_memory: int = sys.maxsize) -> pa.Table:
    """Return the columns of rows, each an object by field name or an array in the order of the fields.

    `image_memory` are the bytes that decoding an image may take.

    Raises:
        RequestError: With row and field of what is neither, or of a value that no field of this kind has.
    """
    names = schema.field_names
    known = set(names)
    columns: list[list[Any]] = [[] for _ in names]
    for number, row in enumerate(rows, start=1):
        if type(row) is dict:
            unknown = next((name for name in row if name not in known), None)
            require(unknown is None, 422, "unknown feature; remove it", number, unknown)
            values = [row.get(name) for name in names]
        else:
            is_row = type(row) is list and len(row) == len(names)
            require(is_row, 422, f"expected an object or an array of {len(names)} values, got {quoted(row)}", number)
            values = row
        for field, column, value in zip(schema.fields, columns, values, strict=True):
            column.append(
                image_bytes(value, field, image_memory, number)
                if isinstance(field, Image)
                else _checked(field, value, number)
            )
    kinds = [TYPES.get(field.kind, pa.string()) for field in schema.fields]
    return pa.table([pa.array(column, kind) for column, kind in zip(columns, kinds, strict=True)], names)


def _checked(field: Field, value: Any, number: int) -> Any:
    """Return a number as it is and any other value as text; raise a RequestError for values of other types."""
    if value is None:
        return None
    if field.kind == "number":
        is_number = type(value) in (int, float)
        problem = NOT_FLOAT32 if is_number else "is not a number"
        require(is_number and abs(value) <= FLOAT32_MAX, 422, f"{quoted(value)} {problem}", number, field.name)
        return float(value)
    require(type(value) in (str, int, float, bool), 422, f"{quoted(value)} is no value", number, field.name)
    if type(value) is bool:
        return "true" if value else "false"
    return value if type(value) is str else repr(value)
