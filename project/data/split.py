"""Random splits, seeded and disjoint."""

import torch
from torch import Tensor

from project.runtime.errors import UserError


def check_fractions(val: float | None, test: float | None) -> tuple[float, float]:
    """Parts of the rows to validate and to test on, as given by flags; None where they come from elsewhere.

    Raises:
        UserError: If one is not between 0 and 1, or nothing is left to train on.
    """
    for flag, value in [("val_fraction", val), ("test_fraction", test)]:
        if value is not None and not 0 < value < 1:
            raise UserError(f"--data.{flag} is {value}: give a number between 0 and 1")
    if (val or 0.0) + (test or 0.0) >= 1:
        raise UserError(
            "--data.val_fraction and --data.test_fraction leave no training rows: their sum must be below 1"
        )
    return val or 0.0, test or 0.0


def sizes(rows: int, val: float, test: float) -> list[int]:
    """Rows of the training, validation and test split."""
    return [rows - round(rows * val) - round(rows * test), round(rows * val), round(rows * test)]


def random_split(rows: int, val: float, test: float, seed: int) -> tuple[Tensor, ...]:
    """Row numbers of the training, validation and test split, each in ascending order."""
    order = torch.randperm(rows, generator=torch.Generator().manual_seed(seed))
    return tuple(part.sort().values for part in order.split(sizes(rows, val, test)))
