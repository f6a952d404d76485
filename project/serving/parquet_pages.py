"""Sizes of the pages of a Parquet column, read from their headers; pyarrow shows only those that the footer declares.

A header is a PageHeader, https://github.com/apache/parquet-format/blob/master/src/main/thrift/parquet.thrift, in
Thrift's compact protocol, https://github.com/apache/thrift/blob/master/doc/specs/thrift-compact-protocol.md.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

from project.serving.request_error import RequestError

Fields = dict[int, Any]
# Fields of PageHeader; and those of DataPageHeader and DataPageHeaderV2 in it, with their own field for the encoding.
UNCOMPRESSED_SIZE, COMPRESSED_SIZE = 2, 3
DATA_PAGES = {5: 2, 8: 4}
# Types of the compact protocol.
TRUE, FALSE, BINARY, STRUCT = 1, 2, 8, 12
INTEGERS = (4, 5, 6)
KINDS = (TRUE, FALSE, BINARY, STRUCT, *INTEGERS)
MAX_DEPTH, MAX_HEADER = 4, 2**16


class Page(NamedTuple):
    """A page: its size in bytes after decompression, and the number of its encoding; None for a page without values."""

    size: int
    encoding: int | None


def read_pages(body: bytearray, start: int, stop: int) -> Iterator[Page]:
    """Yield the pages between two positions in a body.

    Raises:
        RequestError: If the bytes are not pages.
    """
    try:
        while start < stop:
            fields, start = _struct(body, start, min(start + MAX_HEADER, stop), MAX_DEPTH)
            size, length = fields[UNCOMPRESSED_SIZE], fields[COMPRESSED_SIZE]
            if min(size, length) < 0:
                raise ValueError(size, length)
            yield Page(
                size, next((fields[kind].get(field) for kind, field in DATA_PAGES.items() if kind in fields), None)
            )
            start += length
    except (LookupError, ValueError, AttributeError):
        raise RequestError(400, "not Parquet: the header of a page is damaged") from None


def _struct(data: bytearray, place: int, stop: int, depth: int) -> tuple[Fields, int]:
    """Return the integers and structures in a structure, by field number, and the position after it."""
    fields, number = Fields(), 0
    while data[place]:
        delta, kind = divmod(data[place], 16)
        place += 1
        if delta:
            number += delta
        else:
            number, place = _integer(data, place)
        fields[number], place = _value(data, place, stop, kind, depth)
    return fields, place + 1


def _value(data: bytearray, place: int, stop: int, kind: int, depth: int) -> tuple[Any, int]:
    if place >= stop or not depth or kind not in KINDS:
        raise ValueError("too long, too deep, or of a type that no field of a header has")
    if kind in (TRUE, FALSE):
        return None, place
    if kind in INTEGERS:
        return _integer(data, place)
    if kind == STRUCT:
        return _struct(data, place, stop, depth - 1)
    length, place = _varint(data, place)
    return None, place + length


def _integer(data: bytearray, place: int) -> tuple[int, int]:
    value, place = _varint(data, place)
    return (value >> 1) ^ -(value & 1), place


def _varint(data: bytearray, place: int) -> tuple[int, int]:
    value, shift = 0, 0
    while data[place] & 128 and shift < 70:
        value |= (data[place] & 127) << shift
        place, shift = place + 1, shift + 7
    return value | data[place] << shift, place + 1
