"""Predict the rows of a file of any length, block by block."""

import shlex
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import torch
import yaml

from project.data.columns import warn_of_levels
from project.data.csv_format import GUESSED, CSVFormat, find_format
from project.data.csv_numbers import with_plain_numbers
from project.data.location import is_parquet
from project.data.table import require_columns, stream
from project.inference.image_blocks import image_numbers, image_stream
from project.inference.predictor import open_predictor, require_rows
from project.runs.folder import CHECKPOINTS, LATEST
from project.runs.intervals import half_width
from project.runtime.address import is_remote, local_path
from project.runtime.errors import UserError
from project.runtime.files import atomic_write, check_output
from project.runtime.logging import quiet_lightning
from project.serving.inputs import Numbers, TableInputs
from project.serving.metadata import Metadata, image_of, schema_of
from project.serving.predictions import Predictions
from project.serving.request_error import RequestError
from project.serving.table_rows import csv_writer, numbers


def predict(
    reference: str,
    source: str | Path,
    destination: Path,
    trusted: Sequence[str] = (),
    interval: float | None = None,
) -> int:
    """Write a table's rows, in order and unchanged, with a column `<target>_predicted` for each target.

    For classes, it holds the most likely one, and `<target>_probability_<class>` the probability of each. An ensemble
    adds `<target>_spread`, the standard deviation over its members: of the most likely class's probability, or of the
    target. A model of series forecasts from the window of rows that ends at each row; the columns are empty before the
    first full window.

    Features are found by name, in any order; other columns are copied. A missing feature is an error, unless the run
    was trained with `--data.missing mean` (it is replaced by the training mean) or `drop` (the prediction is empty).

    Args:
        reference: A run folder, a checkpoint, `last`, or an `.onnx` file.
        source: A CSV file, a Parquet file or a folder of Parquet files, or the address of one. For a model of images, a
            table with a column of paths, an image, or a folder of images.
        destination: A `.csv` or `.parquet` file; written as a whole or not at all.
        trusted: Modules whose classes the run may name, in addition to the known ones.
        interval: Level of an interval around each target, such as 0.9: `<target>_lower` and `<target>_upper` are added.

    Returns:
        Number of rows.

    Raises:
        UserError: If a column is missing, or a value is not a number; the message names file, column and row.
    """
    quiet_lightning()
    _require_table(source, reference, destination)
    check_output(destination, [".csv", ".parquet", ".pq"], None if is_remote(source) else local_path(source))
    predictor = open_predictor(reference, trusted, threads=torch.get_num_threads())
    require_rows(reference, predictor.metadata)
    metadata, features = predictor.metadata, predictor.metadata["feature_names"]
    widths = _half_widths(reference, metadata, interval)
    csv_format, image = _csv_format(metadata), image_of(metadata)
    schema, blocks = stream(source, csv_format) if image is None else image_stream(source, image.name)
    require_columns(source, features, schema.names, "the model's features")
    schema = _output_schema(source, schema, destination, predictor.names, metadata, widths)
    rows, inputs = 0, TableInputs(metadata)
    known, unknown = schema_of(metadata), Counter[str]()
    numeric = features if known is None else [field.name for field in known.fields if field.kind == "number"]
    decimal = "." if image is not None or is_parquet(source) else find_format(source, csv_format).decimal
    with _writer(destination, schema) as write:
        for block in blocks:
            try:
                table = pa.Table.from_batches([block])
                if image is None:
                    x, complete = inputs.read(_numbers(table, decimal, numeric, metadata))
                else:
                    x, complete = inputs.read(image_numbers(source, image.name, table, metadata))
            except RequestError as error:
                row = "" if error.row is None else f", row {rows + error.row}:"
                raise UserError(f"{source}: column {error.field!r}{row} {error.problem}; correct it") from None
            if known is not None:
                unknown.update(known.unknown(x))
            predictions = Predictions.from_outputs(predictor.predict(x), complete, metadata)
            columns = predictions.columns(metadata, widths).values()
            write(pa.RecordBatch.from_arrays([*block.columns, *columns], schema=schema))
            rows += len(block)
    warn_of_levels(source, unknown, rows)
    return rows


def _require_table(source: str | Path, reference: str, destination: Path) -> None:
    """Raise a UserError if the source is a model, which belongs in the place of the reference."""
    if source == LATEST or str(source).endswith((".onnx", ".ckpt")) or (Path(source) / CHECKPOINTS).is_dir():
        command = shlex.join(["python", "scripts/predict.py", str(source), reference, str(destination)])
        raise UserError(f"{source}: a model, not a table; pass the model first: {command}")


def _csv_format(metadata: Metadata) -> CSVFormat:
    """Return the format of CSV files that the run was trained with."""
    data = yaml.safe_load(metadata["config"]).get("data", {})
    is_table = data.get("class_path") == "project.data.TabularDataModule"
    return CSVFormat(**data["init_args"].get("csv", {})) if is_table else GUESSED


def _numbers(table: pa.Table, decimal: str, numeric: Sequence[str], metadata: Metadata) -> Numbers:
    if decimal == ".":  # enough for most tables
        with suppress(RequestError):
            return numbers(table, metadata)
    return numbers(with_plain_numbers(table, decimal, numeric), metadata)


def _half_widths(reference: str, metadata: Metadata, level: float | None) -> list[float]:
    if level is None:
        return []
    widths = metadata.get("intervals")
    if widths is None:
        raise UserError(f"--interval: {reference} has no intervals; only runs of train.py that predict numbers do")
    return half_width(widths, level)


def _output_schema(
    source: str | Path,
    schema: pa.Schema,
    destination: Path,
    outputs: Sequence[str],
    metadata: Metadata,
    half_widths: Sequence[float],
) -> pa.Schema:
    """Append the predictions' columns to a schema; raise a UserError if a column exists, or does not fit into CSV."""
    nothing = np.empty((0, len(metadata["class_names"] or metadata["target_names"])), np.float32)
    columns = Predictions.from_outputs(dict.fromkeys(outputs, nothing), None, metadata).columns(metadata, half_widths)
    problems = [
        f"column {field.name!r} is {field.type}; write to a .parquet file instead"
        for field in schema
        if not is_parquet(destination) and (pa.types.is_nested(field.type) or pa.types.is_binary(field.type))
    ]
    problems += [f"column {name!r} already exists; rename it" for name in columns if name in schema.names]
    if problems:
        raise UserError(f"{source}: {problems[0]}")
    for name, column in columns.items():
        schema = schema.append(pa.field(name, column.type))
    return schema


@contextmanager
def _writer(path: Path, schema: pa.Schema) -> Iterator[Callable[[pa.RecordBatch], None]]:
    """Open a file that appears once all record batches have been written to it."""
    with atomic_write(path) as temporary:
        if is_parquet(path):
            with pyarrow.parquet.ParquetWriter(temporary, schema) as parquet:
                yield parquet.write_batch
        else:
            with temporary.open("w", newline="", encoding="utf-8") as file:
                yield csv_writer(file, schema.names)
