"""Rows of a CSV or Parquet body, and the same rows with predictions."""

import csv
import io
import math
from collections.abc import Callable
from io import TextIOWrapper
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from project.runtime.arrow import CellError, as_float64
from project.schema import Schema
from project.schema.schema import FieldError
from project.serving.artifact import Artifact
from project.serving.csv_rows import csv_memory, read_csv
from project.serving.inputs import FLOAT32_MAX, INPUT_MEMORY, NOT_FLOAT32, Numbers, TableInputs
from project.serving.memory import MemoryBudget
from project.serving.metadata import Metadata, schema_of
from project.serving.parquet_rows import parquet_memory, read_parquet
from project.serving.predictions import Predictions, output_memory
from project.serving.request_error import RequestError

MAX_VALUE_LENGTH = 100
UNQUOTED = pyarrow.csv.WriteOptions(include_header=False, quoting_style="none")
WRITTEN_CELLS = 50_000  # cells that are written at a time, because they take much more memory as Python's texts


def answer_table(
    artifact: Artifact, is_parquet: bool, body: bytearray, max_rows: int, budget: MemoryBudget, options: Any = None
) -> tuple[int, bytes]:
    """Return the number of rows of a CSV or Parquet body, and the rows with predictions in the same format.

    A model of series forecasts from the window of rows that ends at each row. `options` go to `Artifact.predict`.

    Raises:
        RequestError: If the body is invalid, or takes too much memory.
    """
    metadata = artifact.metadata
    if is_parquet:
        rows, memory = parquet_memory(body, metadata, max_rows, budget)
    else:
        rows, memory = csv_memory(body, max_rows)
    row_memory = INPUT_MEMORY * math.prod(metadata["in_shape"]) + output_memory(artifact)
    with budget.reserve(memory + rows * row_memory):
        table = read_parquet(body, metadata, budget) if is_parquet else read_csv(body, metadata, max_rows)
        x, complete = TableInputs(metadata).read(numbers(table, metadata))
        predictions = Predictions.from_outputs(artifact.predict(x, options), complete, metadata)
        for name, column in predictions.columns(metadata).items():
            table = table.append_column(name, column)
        return len(x), _in_parquet(table) if is_parquet else _in_csv(table)


def numbers(table: pa.Table, metadata: Metadata) -> Numbers:
    """Return a table's features (rows, features), NaN where a value is missing and nothing replaces it."""
    if (schema := schema_of(metadata)) is not None:
        return _encoded(table, schema)
    names = metadata["feature_names"]
    x = np.empty((len(names), table.num_rows))
    for index, name in enumerate(names):
        try:
            column = as_float64(table.column(name)).combine_chunks()
        except CellError as error:
            row = None if error.row is None else error.row + 1
            raise RequestError(422, str(error)[:MAX_VALUE_LENGTH], row, name) from None
        x[index] = column.fill_null(math.nan).to_numpy(zero_copy_only=False)
    return _in_float32(x.T, names.__getitem__)


def _encoded(table: pa.Table, schema: Schema) -> Numbers:
    """Return the numbers of a table's fields (rows, names)."""
    try:
        x = schema.encode(schema.parse(table))
    except FieldError as error:
        row = None if error.row is None else error.row + 1
        raise RequestError(422, error.problem[:MAX_VALUE_LENGTH], row, error.field) from None
    return _in_float32(x, schema.field_of)


def _in_float32(x: Numbers, name_of: Callable[[int], str]) -> Numbers:
    """Return numbers (rows, names); raise a RequestError with row and feature of one that float32 cannot hold."""
    for row, number in np.argwhere(np.abs(x) > FLOAT32_MAX)[:1].tolist():
        raise RequestError(422, f"{x[row, number]:g} {NOT_FLOAT32}", row + 1, name_of(number))
    return x


def _in_parquet(table: pa.Table) -> bytes:
    file = io.BytesIO()
    pyarrow.parquet.write_table(table, file)
    return file.getvalue()


def _in_csv(table: pa.Table) -> bytes:
    file = io.BytesIO()
    text = TextIOWrapper(file, "utf-8", newline="", write_through=True)
    write = csv_writer(text, table.column_names)
    for rows in table.to_batches(max(WRITTEN_CELLS // table.num_columns, 1)):
        write(rows)
    return file.getvalue()


def csv_writer(file: TextIOWrapper, names: list[str]) -> Callable[[pa.Table | pa.RecordBatch], None]:
    """Write a CSV header, and return a function that appends rows; texts are quoted only where they need it."""
    lines = csv.writer(file, lineterminator="\n")
    lines.writerow(names)

    def write(rows: pa.Table | pa.RecordBatch) -> None:
        texts = [column.cast(pa.string()) for column in rows.columns]
        sink = pa.BufferOutputStream()
        try:  # pyarrow quotes all texts or none; without quotes, it is several times as fast as Python
            pyarrow.csv.write_csv(pa.table(texts, names), sink, UNQUOTED)
        except pa.ArrowInvalid:
            lines.writerows(zip(*(text.to_pylist() for text in texts), strict=True))
            return
        file.flush()
        file.buffer.write(sink.getvalue())

    return write
