"""Rows of a JSON request as a table, for features of several kinds."""

import sys
from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from project.schema import Field, Schema
from project.schema.image import Image
from project.serving.images import image_bytes
from project.serving.inputs import checked_number
from project.serving.request_error import quoted, require

TYPES = {"number": pa.float64(), "image": pa.binary()}  # of columns by kind; columns of other kinds are text


def table_of(rows: Sequence[Any], schema: Schema, image_memory: int = sys.maxsize) -> pa.Table:
    """Return the columns of rows, each an object by field name or an array in the order of the fields.

    `image_memory` is the largest number of bytes that decoding an image may take.

    Raises:
        RequestError: With the row and the field that are invalid.
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
        return checked_number(value, number, field.name)
    is_value = type(value) in (str, int, float, bool)
    require(is_value, 422, f"{quoted(value)} is not a text, number or boolean", number, field.name)
    if type(value) is bool:
        return "true" if value else "false"
    return value if type(value) is str else repr(value)
