"""Rows of a CSV body."""

import csv
import io
import re
from collections.abc import Iterator

import pyarrow as pa
import pyarrow.csv

from project.serving.metadata import Metadata
from project.serving.request_error import RequestError, require
from project.serving.table_checks import check_columns, check_rows

BOM = b"\xef\xbb\xbf"
NAME_BYTES = 2**20  # a header may have so many bytes in addition to the names of the features
# Measured bytes of memory: for each byte of the body, for each cell, and independently of the body.
BYTE_MEMORY, CELL_MEMORY, FIXED_MEMORY = 6, 60, 2**22


def csv_memory(body: bytearray, max_rows: int) -> tuple[int, int]:
    """Return upper limits on the rows of a body and on the memory that reading it takes, without reading it."""
    lines = body.count(b"\n") + body.count(b"\r") + 1
    cells = body.count(b",") + lines
    return min(lines, max_rows), BYTE_MEMORY * len(body) + CELL_MEMORY * cells + FIXED_MEMORY


def read_csv(body: bytearray, metadata: Metadata, max_rows: int) -> pa.Table:
    """Read the rows of a CSV body as text, unchanged."""
    try:
        names, end = _header(body, metadata)
        check_columns(names, metadata)
        types = dict.fromkeys(names, pa.string())
        rows = pa.py_buffer(body).slice(end)
        if not rows.to_pybytes().strip(b"\r\n"):  # pyarrow refuses a table without rows
            return pa.schema(types.items()).empty_table()
        # With the names given, a row with another number of columns is an error before it takes memory.
        table = pyarrow.csv.read_csv(
            pa.BufferReader(rows),
            pyarrow.csv.ReadOptions(use_threads=False, column_names=names),
            convert_options=pyarrow.csv.ConvertOptions(column_types=types, strings_can_be_null=False),
        )
    except (UnicodeError, pa.ArrowInvalid, csv.Error) as error:
        raise _error(error) from None
    check_rows(table.num_rows, max_rows)
    return table


def _error(error: Exception) -> RequestError:
    if isinstance(error, UnicodeError):
        return RequestError(400, "not CSV in UTF-8")
    line = re.sub(r"(Expected \d+ columns, got \d+):.*", r"\1", str(error).splitlines()[0])  # without the row itself
    found = re.search(r"Row #(\d+): (.*)", line)
    row, problem = (int(found[1]), found[2]) if found else (None, line)
    return RequestError(400, f"not CSV: {problem}", row)


def _header(body: bytearray, metadata: Metadata) -> tuple[list[str], int]:
    """Return the names of the columns, and where the first row begins; read no more bytes than a header may have."""
    start = len(BOM) * body.startswith(BOM)
    match = re.compile(rb"[\r\n]*").match(body, start)
    end = match.end() if match else start
    most = NAME_BYTES + 4 * sum(len(name.encode()) for name in metadata["feature_names"])
    text = bytes(body[end : end + most])
    is_whole = len(text) < most or b"\n" in text or b"\r" in text
    require(is_whole, 413, f"a first line of more than {most} bytes; send the features and fewer others")

    def lines() -> Iterator[str]:
        nonlocal end
        for line in io.TextIOWrapper(io.BytesIO(text), "utf-8", "surrogateescape", newline=""):
            end += len(line.encode("utf-8", "surrogateescape"))
            yield line

    return next(csv.reader(lines()), []), end
