"""Random splits, seeded and disjoint."""

import torch
from torch import Tensor

from project.errors import UserError


def fraction(flag: str, value: float) -> float:
    """A part of the rows, as given by a flag.

    Raises:
        UserError: If it is not between 0 and 1.
    """
    if not 0 < value < 1:
        raise UserError(f"--data.{flag} is {value}: give a number between 0 and 1")
    return value


def sizes(rows: int, val: float, test: float) -> list[int]:
    """Rows of the training, validation and test split."""
    return [rows - round(rows * val) - round(rows * test), round(rows * val), round(rows * test)]


def random_split(rows: int, val: float, test: float, seed: int) -> tuple[Tensor, ...]:
    """Row numbers of the training, validation and test split, each in ascending order."""
    order = torch.randperm(rows, generator=torch.Generator().manual_seed(seed))
    return tuple(part.sort().values for part in order.split(sizes(rows, val, test)))
