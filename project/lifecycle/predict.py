"""Predictions for a file of any length, in bounded memory."""

import csv
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet
import torch
import yaml

from project.data.table import is_parquet, numbers, require_columns, stream
from project.errors import UserError
from project.run import CONFIG_KEY, DATA_KEY, find_checkpoint, load_model, read_checkpoint


def predict(reference: str, source: Path, destination: Path) -> int:
    """Write a table's rows, in order and unchanged, with one more column `<target>_predicted` for each target.

    Features are found by name, in any order; other columns are passed through. Rows that lack a feature are an error,
    unless the run was trained with `--data.missing mean` (the training mean stands in) or `drop` (their prediction is
    left empty).

    Args:
        reference: A run folder, a checkpoint, or `last`.
        source: A CSV file, a Parquet file or a folder of Parquet files.
        destination: A `.csv` or `.parquet` file; written whole or not at all.

    Returns:
        Number of rows.

    Raises:
        UserError: If a column is missing, or a value is not a number; file, column and row are named.
    """
    checkpoint = read_checkpoint(find_checkpoint(reference))
    model = load_model(checkpoint)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model.to(device)
    features, targets = checkpoint[DATA_KEY]["feature_names"], checkpoint[DATA_KEY]["target_names"]
    missing = yaml.safe_load(checkpoint[CONFIG_KEY])["data"]["init_args"].get("missing", "error")
    schema, blocks = stream(source, as_text=not is_parquet(destination))
    require_columns(source, features, schema.names, "the model's features")
    added = [f"{target}_predicted" for target in targets]
    for name in added:
        if name in schema.names:
            raise UserError(f"{source}: there already is a column {name!r}: rename it")
        schema = schema.append(pa.field(name, pa.float32()))

    rows = 0
    with _writer(destination, schema) as write, torch.inference_mode():
        for block in blocks:
            x = numbers(source, pa.Table.from_batches([block]).select(features), first_row=rows + 1)
            gaps = x.isnan()
            if missing == "mean":
                x = torch.where(gaps, model.net.features.mean.cpu().double(), x)
            elif missing == "error" and gaps.any():
                row, column = gaps.nonzero()[0].tolist()
                raise UserError(f"{source}: column {features[column]!r}, row {rows + row + 1}: no value")
            outputs = model(x.float().view(len(x), *model.net.net.in_shape).to(device)).cpu()
            columns = [pa.array(column.numpy(), from_pandas=True) for column in outputs.T]  # NaN, of gaps, as empty
            write(pa.RecordBatch.from_arrays([*block.columns, *columns], schema=schema))
            rows += len(block)
    return rows


@contextmanager
def _writer(path: Path, schema: pa.Schema) -> Iterator[Callable[[pa.RecordBatch], None]]:
    """What writes record batches to a file that appears when all of it is there."""
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
