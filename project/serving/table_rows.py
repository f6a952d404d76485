"""Rows of a CSV or Parquet body, and the same rows with predictions."""

import csv
import io
import math
import re
from collections import Counter
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet
from numpy.lib.stride_tricks import sliding_window_view

from project.runtime.arrow import NotANumberError, as_float64
from project.serving.artifact import Artifact
from project.serving.metadata import Metadata
from project.serving.prediction_columns import prediction_columns
from project.serving.predictions import Numbers, fill, predict
from project.serving.request_error import RequestError

FLOAT32_MAX = float(np.finfo(np.float32).max)
# Columns beside the features that a table may have: each costs memory that no row pays for.
MAX_OTHERS = 1_000
MAX_BYTES = 2**28  # of a table in memory
MAX_VALUE_LENGTH = 100


def answer_table(
    artifact: Artifact, is_parquet: bool, body: bytes, most: int, options: Any = None
) -> tuple[int, bytes]:
    """Number of rows of a body, and the rows with predictions in the same format.

    Args:
        artifact: The model; one of series forecasts from the window of rows that ends at each row.
        is_parquet: Whether the body is Parquet, or else CSV.
        body: The table.
        most: Rows a request.
        options: Of the prediction.

    Raises:
        RequestError: If the body is at fault.
    """
    metadata = artifact.metadata
    table = (read_parquet if is_parquet else read_csv)(body, metadata, most)
    x, whole = fill(metadata, numbers(table, metadata))
    window = metadata["window"]
    if window and len(x):  # of the first rows, that reach back beyond the table, nothing is known
        early = np.zeros((window - 1, x.shape[1]), np.float32)
        x = sliding_window_view(np.concatenate([early, x]), window, axis=0).swapaxes(1, 2)
        whole = np.concatenate([early.any(axis=1), np.ones(len(x), np.bool_) if whole is None else whole])
        whole = np.logical_and.reduce(sliding_window_view(whole, window), axis=1)
    predictions = predict(artifact, x.reshape(len(x), *metadata["in_shape"]), whole, options)
    for name, column in prediction_columns(predictions, metadata).items():
        table = table.append_column(name, column)
    return len(x), (write_parquet if is_parquet else write_csv)(table)


def read_csv(body: bytes, metadata: Metadata, most: int) -> pa.Table:
    """A CSV body's rows as text, as it is spelled."""
    end = body.find(b"\n")
    _check_width(body.count(b",", 0, end if end >= 0 else len(body)) + 1, metadata)
    try:
        lines = csv.reader(io.TextIOWrapper(io.BytesIO(body), "utf-8-sig", "surrogateescape", newline=""))
        names = next(filter(None, lines), [])
        _check_names(names, metadata)
        table = pyarrow.csv.read_csv(
            io.BytesIO(body),
            pyarrow.csv.ReadOptions(use_threads=False),
            convert_options=pyarrow.csv.ConvertOptions(
                column_types=dict.fromkeys(names, pa.string()), strings_can_be_null=False
            ),
        )
    except UnicodeError:
        raise RequestError(400, "not CSV in UTF-8") from None
    except (pa.ArrowException, csv.Error) as error:
        line = re.sub(r"(Expected \d+ columns, got \d+):.*", r"\1", str(error).splitlines()[0])  # the rest is the row
        found = re.search(r"Row #(\d+): (.*)", line)
        if found is None:
            raise RequestError(400, f"not CSV: {line}") from None
        raise RequestError(400, found[2], int(found[1]) - 1) from None  # it counts the names' row
    _check_rows(table.num_rows, most)
    return table


def read_parquet(body: bytes, metadata: Metadata, most: int) -> pa.Table:
    """A Parquet body's rows; a small body of many equal values is measured before it is expanded."""
    try:
        file = pyarrow.parquet.ParquetFile(io.BytesIO(body))
        schema, rows = file.schema_arrow, file.metadata.num_rows
        _check_width(len(schema.names), metadata)
        _check_names(schema.names, metadata)
        _check_rows(rows, most)
        if nested := next((field for field in schema if pa.types.is_nested(field.type)), None):
            raise RequestError(422, f"is {nested.type}: give plain columns", field=nested.name)
        _check_size(rows * sum(map(_width, schema.types)))
        texts = [field.name for field in schema if _is_text(field.type)]
        table = pyarrow.parquet.ParquetFile(io.BytesIO(body), read_dictionary=texts).read(use_threads=False)
        _check_size(sum(_text_size(column) for column in table.columns))
        return table.cast(schema)
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise RequestError(400, f"not Parquet: {str(error).splitlines()[0]}") from None


def numbers(table: pa.Table, metadata: Metadata) -> Numbers:
    """A table's features (rows, features), NaN where a value is missing.

    Raises:
        RequestError: With row and column, of a value that is not a number within float32.
    """
    x = np.empty((len(metadata["feature_names"]), table.num_rows))
    for index, name in enumerate(metadata["feature_names"]):
        try:
            column = as_float64(table.column(name)).combine_chunks()
        except NotANumberError as error:
            row = None if error.row is None else error.row + 1
            raise RequestError(422, str(error)[:MAX_VALUE_LENGTH], row, name) from None
        x[index] = column.fill_null(math.nan).to_numpy(zero_copy_only=False)
        large = np.abs(x[index]) > FLOAT32_MAX
        if large.any():
            row = int(large.argmax())
            raise RequestError(422, f"{x[index, row]:g} is not a finite number within float32", row + 1, name)
    return x.T


def write_csv(table: pa.Table) -> bytes:
    """A table as CSV, as scripts/predict.py writes it."""
    text = io.StringIO()
    lines = csv.writer(text, lineterminator="\n")
    lines.writerow(table.column_names)
    lines.writerows(zip(*(column.cast(pa.string()).to_pylist() for column in table.columns), strict=True))
    return text.getvalue().encode()


def write_parquet(table: pa.Table) -> bytes:
    """A table as Parquet."""
    file = io.BytesIO()
    pyarrow.parquet.write_table(table, file)
    return file.getvalue()


def _check_width(columns: int, metadata: Metadata) -> None:
    most = len(metadata["feature_names"]) + MAX_OTHERS
    if columns > most:
        raise RequestError(413, f"{columns} columns: give the features, and at most {MAX_OTHERS} others")


def _check_rows(rows: int, most: int) -> None:
    if rows > most:
        raise RequestError(422, f"{rows} rows: give at most {most} a request")


def _check_size(size: float) -> None:
    if size > MAX_BYTES:
        raise RequestError(413, f"{size / 2**20:.0f} MiB when read: give fewer rows or columns")


def _check_names(names: list[str], metadata: Metadata) -> None:
    twice = next((name for name, count in Counter(names).items() if count > 1), None)
    if twice is not None:
        raise RequestError(422, "comes twice: rename one of the columns", field=twice)
    present = set(names)
    for name in metadata["feature_names"]:
        if name not in present:
            raise RequestError(422, f"there is no such column; the columns are: {', '.join(names[:20])}", field=name)
    for target in metadata["target_names"]:
        if f"{target}_predicted" in present:
            raise RequestError(422, "there already is such a column: rename it", field=f"{target}_predicted")


def _width(kind: pa.DataType) -> float:
    """Bytes of a value, without those of a text."""
    try:
        return kind.bit_width / 8
    except ValueError:
        return 4.0


def _is_text(kind: pa.DataType) -> bool:
    return any(test(kind) for test in (pa.types.is_string, pa.types.is_large_string, pa.types.is_binary))


def _text_size(column: pa.ChunkedArray) -> int:
    """Bytes of the texts of a column that holds each once."""
    if not pa.types.is_dictionary(column.type) or not _is_text(column.type.value_type):
        return 0
    lengths = (pc.binary_length(chunk.dictionary).take(chunk.indices) for chunk in column.chunks)
    return sum(pc.sum(part.cast(pa.int64())).as_py() or 0 for part in lengths)
