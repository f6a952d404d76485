"""Row weights from a column of a table."""

from collections.abc import Sequence

import pyarrow as pa
import torch
from torch import Tensor

from project.data.loader import Rows
from project.data.numbers import as_float32, numbers
from project.data.sampling import is_labelled
from project.runtime.errors import UserError

SPLITS = ("training", "validation", "test")


def read_weights(path: str, table: pa.Table, column: str, kept: Tensor, first_row: int = 1) -> Tensor:
    """Return the weight of each row of a table, (rows, 1), float64.

    Raises:
        UserError: If the weight of one of the rows `kept` is missing, not a number, or negative. The error has the row,
            counted from `first_row`.
    """
    weights = numbers(path, table.select([column]), first_row)
    wrong = kept[~(weights[kept, 0] >= 0)]
    if len(wrong):
        row, value = int(wrong[0]), weights[wrong[0], 0].item()
        problem = "missing" if value != value else f"{value:g} is negative"
        place = f"{path}: column {column!r}, row {first_row + row}"
        raise UserError(f"{place}: {problem}; --data.weights needs 0 or more in every row")
    return weights


def mean_one(place: str, splits: Sequence[Rows], has_unlabelled: bool) -> list[Tensor | None]:
    """Return the weights of each split in float32, divided by their mean over the training rows that have labels.

    With a mean of 1, good learning rates do not depend on the scale of the weights.

    Raises:
        UserError: If all rows of a split have the weight 0.
    """
    weights = [rows.weights for rows in splits]
    counted = [  # a mask would read targets that are on disk
        each if each is None or not has_unlabelled else each[is_labelled(rows.y)]
        for each, rows in zip(weights, splits, strict=True)
    ]
    means = [1.0 if each is None else each.mean(dtype=torch.float64).item() for each in counted]
    if 0 in means:
        name = SPLITS[means.index(0)]
        raise UserError(f"{place}: all {name} rows have the weight 0; change --data.weights or --data.seed")
    return [None if each is None else as_float32(each).div_(means[0]) for each in weights]  # may be on disk
