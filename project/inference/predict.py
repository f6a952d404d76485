"""Predictions for a file of any length, in bounded memory."""

import csv
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import torch
from numpy.typing import NDArray

from project.data.location import is_parquet
from project.data.numbers import numbers
from project.data.table import require_columns, stream
from project.inference.predictor import Predictor, open_predictor
from project.runtime.errors import UserError
from project.runtime.files import atomic_write, check_output
from project.serving.artifact import Array, Metadata
from project.serving.prediction_columns import prediction_columns
from project.serving.predictions import Predictions


def predict(reference: str, source: Path, destination: Path, trusted: Sequence[str] = ()) -> int:
    """Write a table's rows, in order and unchanged, with one more column `<target>_predicted` for each target.

    For classes it holds the likeliest one, and `<target>_probability_<class>` the probability of each. An ensemble adds
    `<target>_spread`, the standard deviation over its members: of the likeliest class's probability, or of the target.
    A model of series forecasts from the window of rows that ends at each row; before a first full window the columns
    are empty.

    Features are found by name, in any order; other columns are passed through. Rows that lack a feature are an error,
    unless the run was trained with `--data.missing mean` (the training mean stands in) or `drop` (their prediction is
    left empty).

    Args:
        reference: A run folder, a checkpoint, `last`, or an `.onnx` file.
        source: A CSV file, a Parquet file or a folder of Parquet files.
        destination: A `.csv` or `.parquet` file; written whole or not at all.
        trusted: Modules whose classes the run may name, beside the known ones.

    Returns:
        Number of rows.

    Raises:
        UserError: If a column is missing, or a value is not a number; file, column and row are named.
    """
    check_output(destination, [".csv", ".parquet", ".pq"], source)
    predictor = open_predictor(reference, trusted, threads=torch.get_num_threads())
    metadata = predictor.metadata
    features, window = metadata["feature_names"], metadata["window"]
    schema, blocks = stream(source)
    require_columns(source, features, schema.names, "the model's features")
    for field in schema:
        if destination.suffix.lower() == ".csv" and (pa.types.is_nested(field.type) or pa.types.is_binary(field.type)):
            raise UserError(f"{source}: column {field.name!r} is {field.type}: write to a .parquet file instead")
    nothing = np.empty((0, len(metadata["class_names"] or metadata["target_names"])), np.float32)
    for name, column in _columns(dict.fromkeys(predictor.names, nothing), metadata).items():
        if name in schema.names:
            raise UserError(f"{source}: there already is a column {name!r}: rename it")
        schema = schema.append(pa.field(name, column.type))

    rows, history = 0, np.empty((0, len(features)), np.float32)
    with _writer(destination, schema) as write:
        for block in blocks:
            x = numbers(source, pa.Table.from_batches([block]).select(features), first_row=rows + 1).numpy()
            known = np.concatenate([history, _filled(source, x, metadata, rows)])
            history = known[max(len(known) - window + 1, 0) :] if window else known[:0]
            answer = _answer(predictor, _inputs(known, metadata), len(block))
            columns = _columns(answer, metadata).values()
            write(pa.RecordBatch.from_arrays([*block.columns, *columns], schema=schema))
            rows += len(block)
    return rows


def _filled(source: Path, x: NDArray[np.float64], metadata: Metadata, before: int) -> Array:
    """Rows (rows, features) in float32, gaps treated as in training."""
    gaps, names = np.isnan(x), metadata["feature_names"]
    if metadata["missing"] == "mean":
        x = np.where(gaps, metadata["feature_means"], x)
    elif metadata["missing"] == "error" and gaps.any():
        row, column = np.argwhere(gaps)[0].tolist()
        raise UserError(f"{source}: column {names[column]!r}, row {before + row + 1}: no value")
    if (large := np.abs(x) > np.finfo(np.float32).max).any():
        row, column = np.argwhere(large)[0].tolist()
        raise UserError(f"{source}: column {names[column]!r}, row {before + row + 1}: too large for float32")
    return x.astype(np.float32)


def _inputs(rows: Array, metadata: Metadata) -> Array:
    """Rows of a table (rows, columns) as what a net takes: (rows, *in_shape), or every window of a series."""
    shape, window = metadata["in_shape"], metadata["window"]
    if not window:
        return rows.reshape(len(rows), *shape)
    if len(rows) < window:
        return np.empty((0, *shape), np.float32)
    return np.lib.stride_tricks.sliding_window_view(rows, window, 0).swapaxes(1, 2)  # (windows, window, columns)


def _answer(predictor: Predictor, inputs: Array, rows: int) -> dict[str, Array]:
    """Answers to the last of so many rows; NaN for those before them, and for inputs with gaps."""
    gaps = np.isnan(inputs).any(axis=tuple(range(1, inputs.ndim)))
    answer = predictor.answer(np.nan_to_num(inputs) if gaps.any() else inputs)  # a gap may spoil others of its batch
    for values in answer.values():
        values[gaps] = np.nan
    early = rows - len(inputs)  # before a full window
    return {name: np.pad(values, ((early, 0), (0, 0)), constant_values=np.nan) for name, values in answer.items()}


def _columns(answer: dict[str, Array], metadata: Metadata) -> dict[str, pa.Array]:
    values = answer.get("probabilities", answer["outputs"])
    return prediction_columns(Predictions(values, answer.get("spread"), None), metadata)


@contextmanager
def _writer(path: Path, schema: pa.Schema) -> Iterator[Callable[[pa.RecordBatch], None]]:
    """What writes record batches to a file that appears when all of it is there."""
    with atomic_write(path) as temporary:
        if is_parquet(path):
            with pyarrow.parquet.ParquetWriter(temporary, schema) as parquet:
                yield parquet.write_batch
        else:
            with temporary.open("w", newline="", encoding="utf-8") as file:
                lines = csv.writer(file, lineterminator="\n")  # pyarrow's own puts every text in quotes
                lines.writerow(schema.names)
                yield lambda block: lines.writerows(
                    zip(*(column.cast(pa.string()).to_pylist() for column in block.columns), strict=True)
                )
