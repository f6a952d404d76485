"""Random splits, seeded and disjoint."""

from collections.abc import Sequence

import torch
from torch import Tensor

from project.runtime.errors import UserError


def check_fractions(val: float, test: float) -> None:
    """Raise a UserError if the validation and test fractions leave no training rows."""
    if val + test >= 1:
        flags = "--data.val_fraction, --data.test_fraction"
        raise UserError(f"{flags}: leave no training rows; lower their sum to below 1, got {val + test:g}")


def check_not_empty(place: str, counts: Sequence[int]) -> None:
    """Raise a UserError that names the first split without rows."""
    for name, count in zip(("training", "validation", "test"), counts, strict=True):
        if count == 0:
            fix = "add rows or change --data.val_fraction and --data.test_fraction"
            raise UserError(f"{place}: no rows in the {name} split, of {sum(counts)} rows in all; {fix}")


def sizes(rows: int, val: float, test: float) -> list[int]:
    """Return the number of rows in the training, validation and test split."""
    return [rows - round(rows * val) - round(rows * test), round(rows * val), round(rows * test)]


def random_split(rows: int, val: float, test: float, seed: int) -> tuple[Tensor, ...]:
    """Return the row numbers of the training, validation and test split, each in ascending order."""
    order = torch.randperm(rows, generator=torch.Generator().manual_seed(seed))
    return tuple(part.sort().values for part in order.split(sizes(rows, val, test)))
