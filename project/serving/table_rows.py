"""Rows of a CSV or Parquet body, and the same rows with predictions."""

import csv
import io
import math
import re
from collections import Counter
from collections.abc import Callable
from typing import Any, TextIO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet

from project.runtime.arrow import NotANumberError, as_float64
from project.serving.artifact import Artifact
from project.serving.inputs import FLOAT32_MAX, NOT_FLOAT32, Numbers, TableInputs
from project.serving.metadata import Metadata
from project.serving.predictions import Predictions
from project.serving.request_error import RequestError, require

# Columns in addition to the features: each takes memory, also in a table without rows.
MAX_OTHERS = 1_000
MAX_BYTES = 2**28  # of a table in memory
MAX_VALUE_LENGTH = 100


def answer_table(
    artifact: Artifact, is_parquet: bool, body: bytes, max_rows: int, options: Any = None
) -> tuple[int, bytes]:
    """Return the number of rows of a CSV or Parquet body, and the rows with predictions in the same format.

    A model of series forecasts from the window of rows that ends at each row. `options` go to `Artifact.predict`.

    Raises:
        RequestError: If the body is invalid.
    """
    metadata = artifact.metadata
    table = (read_parquet if is_parquet else read_csv)(body, metadata, max_rows)
    x, complete = TableInputs(metadata).read(numbers(table, metadata))
    predictions = Predictions.from_outputs(artifact.predict(x, options), complete)
    for name, column in predictions.columns(metadata).items():
        table = table.append_column(name, column)
    if is_parquet:
        file = io.BytesIO()
        pyarrow.parquet.write_table(table, file)
        return len(x), file.getvalue()
    text = io.StringIO()
    csv_writer(text, table.column_names)(table)
    return len(x), text.getvalue().encode()


def read_csv(body: bytes, metadata: Metadata, max_rows: int) -> pa.Table:
    """Read the rows of a CSV body as text, unchanged."""
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
        line = re.sub(r"(Expected \d+ columns, got \d+):.*", r"\1", str(error).splitlines()[0])  # without the row
        found = re.search(r"Row #(\d+): (.*)", line)
        row, problem = (int(found[1]) - 1, found[2]) if found else (None, line)  # Arrow counts the header as a row
        raise RequestError(400, f"not CSV: {problem}", row) from None
    _check_rows(table.num_rows, max_rows)
    return table


def read_parquet(body: bytes, metadata: Metadata, max_rows: int) -> pa.Table:
    """Read the rows of a Parquet body; check the size first, as a small body may hold many equal values."""
    try:
        file = pyarrow.parquet.ParquetFile(io.BytesIO(body))
        schema, rows = file.schema_arrow, file.metadata.num_rows
        _check_width(len(schema.names), metadata)
        _check_names(schema.names, metadata)
        _check_rows(rows, max_rows)
        if nested := next((field for field in schema if pa.types.is_nested(field.type)), None):
            raise RequestError(422, f"is {nested.type}; send plain columns", field=nested.name)
        _check_size(rows * sum(map(_width, schema.types)))
        texts = [field.name for field in schema if _is_text(field.type)]
        table = pyarrow.parquet.ParquetFile(io.BytesIO(body), read_dictionary=texts).read(use_threads=False)
        _check_size(sum(_text_size(column) for column in table.columns))
        return table.cast(schema)
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise RequestError(400, f"not Parquet: {str(error).splitlines()[0]}") from None


def numbers(table: pa.Table, metadata: Metadata) -> Numbers:
    """Return a table's features (rows, features), NaN where a value is missing."""
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
            raise RequestError(422, f"{x[index, row]:g} {NOT_FLOAT32}", row + 1, name)
    return x.T


def csv_writer(file: TextIO, names: list[str]) -> Callable[[pa.Table | pa.RecordBatch], None]:
    """Write a CSV header, and return a function that appends rows; pyarrow's own writer would quote every text."""
    lines = csv.writer(file, lineterminator="\n")
    lines.writerow(names)
    return lambda rows: lines.writerows(
        zip(*(column.cast(pa.string()).to_pylist() for column in rows.columns), strict=True)
    )


def _check_width(columns: int, metadata: Metadata) -> None:
    most = len(metadata["feature_names"]) + MAX_OTHERS
    require(columns <= most, 413, f"{columns} columns; send the features and at most {MAX_OTHERS} others")


def _check_rows(rows: int, max_rows: int) -> None:
    require(rows <= max_rows, 422, f"{rows} rows; send at most {max_rows} per request")


def _check_size(size: float) -> None:
    require(size <= MAX_BYTES, 413, f"{size / 2**20:.0f} MiB when read; send fewer rows or columns")


def _check_names(names: list[str], metadata: Metadata) -> None:
    counts, predicted = Counter(names), [f"{target}_predicted" for target in metadata["target_names"]]
    problems = {name: "the name is repeated; rename one of the columns" for name in names if counts[name] > 1}
    absent = f"no such column; the columns are: {', '.join(names[:20])}"
    problems |= {name: absent for name in metadata["feature_names"] if name not in counts}
    problems |= {name: "the column already exists; rename it" for name in predicted if name in counts}
    if problems:
        name, problem = next(iter(problems.items()))
        raise RequestError(422, problem, field=name)


def _width(kind: pa.DataType) -> float:
    """Return the bytes of one value, without the characters of a text."""
    try:
        return kind.bit_width / 8
    except ValueError:
        return 4.0


def _is_text(kind: pa.DataType) -> bool:
    return any(test(kind) for test in (pa.types.is_string, pa.types.is_large_string, pa.types.is_binary))


def _text_size(column: pa.ChunkedArray) -> int:
    """Return the bytes of all texts of a dictionary column once expanded."""
    if not pa.types.is_dictionary(column.type) or not _is_text(column.type.value_type):
        return 0
    lengths = (pc.binary_length(chunk.dictionary).take(chunk.indices) for chunk in column.chunks)
    return sum(pc.sum(part.cast(pa.int64())).as_py() or 0 for part in lengths)
