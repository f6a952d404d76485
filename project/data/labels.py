"""Conversion of class labels, in any spelling, to class indices."""

import math
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import torch
from torch import Tensor

from project.data.csv_format import GUESSED, CSVFormat
from project.data.table import table_blocks
from project.runtime.arrow import CellError
from project.runtime.errors import UserError
from project.schema.category import sorted_levels
from project.schema.spelling import as_text


def distinct_labels(
    path: str | Path, column: str, missing: Sequence[str] = (), given: CSVFormat = GUESSED
) -> list[str]:
    """Read the distinct labels of a column in bounded memory, sorted as numbers if all are numbers, otherwise as text.

    Raises:
        UserError: If there are fewer than two, without the spellings of missing values.
    """
    found: set[str | None] = set()
    for block in table_blocks(path, [column], (), given):
        found.update(pc.unique(_label_text(path, block, column)).to_pylist())
    labels = [label for label in sorted_levels(found) if label not in missing]
    if len(labels) < 2:
        raise UserError(f"{path}: column {column!r} has fewer than two classes: {labels}")
    return labels


def class_indices(
    path: str | Path, table: pa.Table, column: str, classes: list[str], source: str, first_row: int = 1
) -> Tensor:
    """Convert a column of labels to class indices, (rows, 1) float64, NaN for missing labels.

    Raises:
        UserError: If a label is not in `classes`, the classes of `source`. The error has the row, counted from
            `first_row`.
    """
    labels = _label_text(path, table, column)
    codes = pc.index_in(labels, pa.array(classes))
    unknown = pc.and_(pc.is_null(codes), pc.is_valid(labels))
    if pc.any(unknown).as_py():
        row = pc.index(unknown, True).as_py()
        place = f"{path}: column {column!r}, row {first_row + row}"
        raise UserError(f"{place}: class {labels[row].as_py()!r} is not in {source}")
    return torch.tensor(codes.cast(pa.float64()).fill_null(math.nan).to_numpy())[:, None]


def _label_text(path: str | Path, table: pa.Table, column: str) -> pa.ChunkedArray:
    values = table.column(column)
    try:
        return as_text(values)
    except CellError:
        raise UserError(f"{path}: column {column!r} is {values.type}; classes must be text or integers") from None
