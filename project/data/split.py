"""Random splits, seeded and disjoint."""

from collections.abc import Sequence

import torch
from torch import Tensor

from project.runtime.errors import UserError


def check_fractions(val: float, test: float) -> None:
    """Raise a UserError if the validation and test fractions leave no training rows."""
    if val + test >= 1:
        raise UserError(
            f"--data.val_fraction, --data.test_fraction: leave no training rows; lower their sum to below 1, "
            f"got {val + test:g}"
        )


def check_not_empty(place: str, counts: Sequence[int]) -> None:
    """Raise a UserError that names the first split without rows.

    Args:
        place: Source of the rows, for the error.
        counts: Rows of the training, validation and test split.
    """
    for name, count in zip(("training", "validation", "test"), counts, strict=True):
        if count == 0:
            raise UserError(
                f"{place}: no rows in the {name} split, of {sum(counts)} rows in all; "
                "add rows or change --data.val_fraction and --data.test_fraction"
            )


def sizes(rows: int, val: float, test: float) -> list[int]:
    """Return the number of rows in the training, validation and test split."""
    return [rows - round(rows * val) - round(rows * test), round(rows * val), round(rows * test)]


def random_split(rows: int, val: float, test: float, seed: int) -> tuple[Tensor, ...]:
    """Return the row numbers of the training, validation and test split, each in ascending order."""
    order = torch.randperm(rows, generator=torch.Generator().manual_seed(seed))
    return tuple(part.sort().values for part in order.split(sizes(rows, val, test)))
