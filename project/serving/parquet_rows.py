"""Rows of a Parquet body. A few bytes of it may stand for gigabytes, so its size in memory is checked first."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet

from project.serving.memory import MemoryBudget
from project.serving.metadata import Metadata
from project.serving.parquet_pages import read_pages
from project.serving.request_error import RequestError, require
from project.serving.table_checks import check_columns, check_rows, max_columns

TAIL = 8  # bytes after the footer: its length and "PAR1", https://parquet.apache.org/docs/file-format
# The largest number of bytes of the footer per column, and measured bytes of memory for each byte of the footer.
COLUMN_BYTES, FOOTER_MEMORY = 512, 150
# Bytes of memory for each byte of texts and of numbers, which are read, converted and written again.
TEXT_MEMORY, NUMBER_MEMORY = 4, 6

MAX_PAGES = 20_000  # checking a page takes time
DELTA_BYTE_ARRAY = 7  # an encoding in which a small page may hold any amount of text
DIFFERENT_ROWS = "not Parquet: its numbers of rows differ"

_one_at_a_time = threading.Lock()  # a footer is read before its memory is reserved


def parquet_memory(body: bytearray, metadata: Metadata, max_rows: int, budget: MemoryBudget) -> tuple[int, int]:
    """Return the rows of a body and an upper limit on the memory that reading it takes, by its footer.

    Raises:
        RequestError: If the columns do not fit the model, or the body takes too much memory.
    """
    footer = int.from_bytes(body[-TAIL : 4 - TAIL], "little")
    most = COLUMN_BYTES * max_columns(metadata)
    is_whole = body.endswith(b"PAR1") and footer < len(body)  # otherwise, pyarrow raises an error below
    require(
        footer <= most or not is_whole, 413, f"a footer of {footer} bytes; send fewer columns, or larger row groups"
    )
    with _one_at_a_time, _parquet_errors():
        file = _open(body, metadata)
        schema, groups = file.schema_arrow, file.metadata
        check_columns(schema.names, metadata)
        check_rows(groups.num_rows, max_rows)
        for field in schema:
            require(_is_plain(field.type), 422, f"is {field.type}; send plain columns", field=field.name)
        memory = FOOTER_MEMORY * footer + NUMBER_MEMORY * groups.num_rows * sum(_width(field.type) for field in schema)
        memory += _pages_memory(body, file, budget)
    budget.check(memory)
    texts = any(_is_text(_value_type(field.type)) for field in schema)
    return groups.num_rows, int(memory) + _texts_memory(budget) * texts


def _pages_memory(body: bytearray, file: pyarrow.parquet.ParquetFile, budget: MemoryBudget) -> int:
    """Return the memory for all pages, by their headers, which determine how much the decoder allocates."""
    memory, rows, pages = 0, 0, 0
    for group in map(file.metadata.row_group, range(file.metadata.num_row_groups)):
        rows += group.num_rows
        require(group.num_columns == len(file.schema_arrow), 400, "not Parquet: its numbers of columns differ")
        for number, field in enumerate(file.schema_arrow):
            column = group.column(number)
            require(0 <= column.num_values == group.num_rows, 400, DIFFERENT_ROWS)
            start = min(column.dictionary_page_offset or column.data_page_offset, column.data_page_offset)
            require(start >= 0, 400, "not Parquet: a column begins nowhere")
            factor = TEXT_MEMORY if _is_text(_value_type(field.type)) else 1
            for page in read_pages(body, start, start + column.total_compressed_size):
                pages += 1
                require(page.encoding != DELTA_BYTE_ARRAY, 422, "send another encoding than DELTA_BYTE_ARRAY")
                require(pages <= MAX_PAGES, 413, f"more than {MAX_PAGES} pages; send larger pages")
                memory += factor * page.size
            budget.check(memory)
    require(rows == file.metadata.num_rows, 400, DIFFERENT_ROWS)
    return memory


def read_parquet(body: bytearray, metadata: Metadata, budget: MemoryBudget) -> pa.Table:
    """Read the rows of a Parquet body that `parquet_memory` has checked."""
    with _parquet_errors():
        schema = _open(body, metadata).schema_arrow
        # As dictionaries, equal values are in memory once.
        texts = [field.name for field in schema if _is_text(field.type)]
        table = _open(body, metadata, read_dictionary=texts).read(use_threads=False)
        size = sum(map(_text_size, table.columns))
        most = _texts_memory(budget) // TEXT_MEMORY
        require(size <= most, 413, f"texts of {size / 2**20:.0f} MiB when read; send fewer rows or columns")
        return table.cast(schema)


def _open(body: bytearray, metadata: Metadata, **options: Any) -> pyarrow.parquet.ParquetFile:
    most = max_columns(metadata) + 2  # length of a list in the footer, which is allocated before it is read
    return pyarrow.parquet.ParquetFile(pa.BufferReader(pa.py_buffer(body)), thrift_container_size_limit=most, **options)


@contextmanager
def _parquet_errors() -> Iterator[None]:
    try:
        yield
    except pa.ArrowMemoryError:
        raise
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise RequestError(400, f"not Parquet: {str(error).splitlines()[0]}") from None


def _texts_memory(budget: MemoryBudget) -> int:
    """Return the memory for texts whose size is known only once they are read."""
    return budget.size // 2


def _value_type(kind: pa.DataType) -> pa.DataType:
    return kind.value_type if pa.types.is_dictionary(kind) else kind


def _is_plain(kind: pa.DataType) -> bool:
    value = _value_type(kind)
    return pa.types.is_primitive(value) or pa.types.is_decimal(value) or pa.types.is_null(value) or _is_text(value)


def _is_text(kind: pa.DataType) -> bool:
    types = pa.types
    tests = (types.is_string, types.is_large_string, types.is_binary, types.is_large_binary)
    return any(test(kind) for test in tests)


def _width(kind: pa.DataType) -> float:
    """Return the bytes of one value, without the characters of a text."""
    try:
        return max(kind.bit_width / 8, 1)
    except ValueError:
        return 8.0


def _text_size(column: pa.ChunkedArray) -> int:
    """Return the bytes of all texts of a dictionary column once expanded."""
    if not pa.types.is_dictionary(column.type) or not _is_text(column.type.value_type):
        return 0
    lengths = (pc.binary_length(chunk.dictionary).take(chunk.indices) for chunk in column.chunks)
    return sum(pc.sum(part.cast(pa.int64())).as_py() or 0 for part in lengths)
