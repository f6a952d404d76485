"""Conversion of class labels, in any spelling, to class indices."""

import math
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import torch
from torch import Tensor

from project.data.csv_format import GUESSED, CSVFormat
from project.data.numbers import numbers
from project.data.table import table_blocks
from project.runtime.arrow import CellError
from project.runtime.errors import UserError
from project.schema.category import sorted_levels
from project.schema.spelling import as_text, without_values


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


def parse_targets(
    path: str,
    table: pa.Table,
    missing: Sequence[str] | None,
    class_names: list[str] | None,
    source: str,
    first_row: int,
) -> Tensor:
    """Return targets (rows, columns), NaN if missing: numbers, or class indices if there are class names.

    Args:
        path: Path of the table, for errors.
        table: The columns of the targets.
        missing: Values that mean a missing one, in addition to empty cells.
        class_names: Names of the classes; None for numbers.
        source: Path of the table that the class names come from.
        first_row: Number of the first row, for errors.

    Raises:
        UserError: If a value is not a number, or is another label.
    """
    if missing:
        table = pa.table([without_values(column, missing) for column in table.columns], table.column_names)
    if class_names is None:
        return numbers(path, table, first_row, "correct it, or set --data.task classification")
    return class_indices(path, table, table.column_names[0], class_names, source, first_row)


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
