"""Predictions for a file of any length, in bounded memory."""

import csv
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet
import torch
import yaml
from torch import Tensor

from project.data.location import is_parquet
from project.data.numbers import numbers
from project.data.table import require_columns, stream
from project.errors import UserError
from project.run import CONFIG_KEY, DATA_KEY, find_checkpoint, load_model, read_checkpoint

BATCH_ROWS = 1_024


def predict(reference: str, source: Path, destination: Path, trusted: Sequence[str] = ()) -> int:
    """Write a table's rows, in order and unchanged, with one more column `<target>_predicted` for each target.

    For classes it holds the likeliest one, and `<target>_probability_<class>` the probability of each. A model of
    series forecasts from the window of rows that ends at each row; before a first full window the columns are empty.

    Features are found by name, in any order; other columns are passed through. Rows that lack a feature are an error,
    unless the run was trained with `--data.missing mean` (the training mean stands in) or `drop` (their prediction is
    left empty).

    Args:
        reference: A run folder, a checkpoint, or `last`.
        source: A CSV file, a Parquet file or a folder of Parquet files.
        destination: A `.csv` or `.parquet` file; written whole or not at all.
        trusted: Modules whose classes the run may name, beside the known ones.

    Returns:
        Number of rows.

    Raises:
        UserError: If a column is missing, or a value is not a number; file, column and row are named.
    """
    checkpoint = read_checkpoint(find_checkpoint(reference))
    model = load_model(checkpoint, trusted)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model.to(device)
    data = checkpoint[DATA_KEY]
    features, window = data["feature_names"], data["window"]
    missing = yaml.safe_load(checkpoint[CONFIG_KEY])["data"]["init_args"].get("missing", "error")
    schema, blocks = stream(source)
    require_columns(source, features, schema.names, "the model's features")
    for field in schema:
        if destination.suffix.lower() == ".csv" and (pa.types.is_nested(field.type) or pa.types.is_binary(field.type)):
            raise UserError(f"{source}: column {field.name!r} is {field.type}: write to a .parquet file instead")
    for field in (added := _added_columns(data)):
        if field.name in schema.names:
            raise UserError(f"{source}: there already is a column {field.name!r}: rename it")
        schema = schema.append(field)

    rows, history = 0, torch.empty(0, len(features))
    with _writer(destination, schema) as write, torch.inference_mode():
        for block in blocks:
            x = numbers(source, pa.Table.from_batches([block]).select(features), first_row=rows + 1)
            gaps = x.isnan()
            if missing == "mean":
                x = torch.where(gaps, torch.tensor(data["feature_means"]).double(), x)
            elif missing == "error" and gaps.any():
                row, column = gaps.nonzero()[0].tolist()
                raise UserError(f"{source}: column {features[column]!r}, row {rows + row + 1}: no value")
            if (large := x.abs() > torch.finfo(torch.float32).max).any():
                row, column = large.nonzero()[0].tolist()
                raise UserError(f"{source}: column {features[column]!r}, row {rows + row + 1}: too large for float32")
            known = torch.cat([history, x.float()])
            inputs = _inputs(known, model.net.net.in_shape, window)
            history = known[max(len(known) - window + 1, 0) :] if window else known[:0]
            outputs = torch.cat([model.predict_step(part.to(device), 0).cpu() for part in inputs.split(BATCH_ROWS)])
            early = torch.full((len(block) - len(outputs), data["out_features"]), torch.nan)  # before a full window
            columns = _columns(torch.cat([early, outputs]), data["class_names"], added)
            write(pa.RecordBatch.from_arrays([*block.columns, *columns], schema=schema))
            rows += len(block)
    return rows


def _inputs(rows: Tensor, in_shape: tuple[int, ...], window: int) -> Tensor:
    """Rows of a table (rows, columns) as what a net takes: (rows, *in_shape), or every window of a series."""
    if not window:
        return rows.view(len(rows), *in_shape)
    if len(rows) < window:
        return rows.new_empty(0, *in_shape)
    return rows.unfold(0, window, 1).transpose(1, 2)  # (rows - window + 1, window, columns)


def _added_columns(data: Mapping[str, Any]) -> list[pa.Field]:
    """What is written beside the input's columns: each target's prediction, and each class's probability."""
    kind = pa.float32() if data["class_names"] is None else pa.string()
    fields = [pa.field(f"{target}_predicted", kind) for target in data["target_names"]]
    classes = data["class_names"] or []
    return [*fields, *(pa.field(f"{data['target_names'][0]}_probability_{name}", pa.float32()) for name in classes)]


def _columns(outputs: Tensor, classes: list[str] | None, fields: list[pa.Field]) -> list[pa.Array]:
    """Outputs (rows, out_features) as the columns of `_added_columns`; NaN, of rows with gaps, as empty."""
    numbers = [pa.array(column.numpy(), from_pandas=True) for column in outputs.T]
    if classes is None:
        return numbers
    known = (~outputs.isnan().any(1)).tolist()
    best = outputs.nan_to_num().argmax(1).tolist()
    labels = [classes[number] if there else None for number, there in zip(best, known, strict=True)]
    return [pa.array(labels, fields[0].type), *numbers]


@contextmanager
def _writer(path: Path, schema: pa.Schema) -> Iterator[Callable[[pa.RecordBatch], None]]:
    """What writes record batches to a file that appears when all of it is there."""
    if path.is_dir():
        raise UserError(f"{path}: is a folder: give the name of a file")
    if not is_parquet(path) and path.suffix.lower() != ".csv":
        raise UserError(f"{path}: give an output file that ends in .csv or .parquet")
    if not path.parent.is_dir():
        raise UserError(f"{path}: there is no folder {path.parent}")
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
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
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
