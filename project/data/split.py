"""Random splits, seeded and disjoint."""

import hashlib
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from project.data.loader import Rows
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
    """Return the numbers of rows in the training, validation and test split."""
    return [rows - round(rows * val) - round(rows * test), round(rows * val), round(rows * test)]


def random_split(rows: int, val: float, test: float, seed: int) -> tuple[Tensor, ...]:
    """Return the row indices of the training, validation and test split, each in ascending order."""
    order = torch.randperm(rows, generator=torch.Generator().manual_seed(seed))
    return tuple(part.sort().values for part in order.split(sizes(rows, val, test)))


def stratified_split(classes: Tensor, val: float, test: float, seed: int) -> tuple[Tensor, ...]:
    """Split like `random_split`, but stratified by class (rows,), int64, to within one row per class and split."""
    order = torch.randperm(len(classes), generator=torch.Generator().manual_seed(seed))
    rest = order[classes[order].argsort(stable=True)]
    parts = []
    for count in sizes(len(classes), val, test)[:0:-1]:  # the test rows, then the validation rows
        chosen = torch.zeros(len(rest), dtype=torch.bool)
        chosen[torch.arange(count) * len(rest) // max(count, 1)] = True  # evenly spaced in the rows sorted by class
        parts.append(rest[chosen])
        rest = rest[~chosen]
    return tuple(part.sort().values for part in (rest, *reversed(parts)))


def group_split(groups: Tensor, val: float, test: float, seed: int) -> tuple[Tensor, ...]:
    """Split like `random_split`, but keep all rows of a group (rows,), int64, together. The sizes are approximate."""
    counts = groups.bincount().double()
    order = torch.randperm(len(counts), generator=torch.Generator().manual_seed(seed))
    shares = torch.empty(len(counts)).double()
    shares[order] = (counts[order].cumsum(0) - counts[order] / 2) / len(groups)  # share up to its middle
    share = shares[groups]
    masks = (share >= val + test, (share >= test) & (share < val + test), share < test)
    return tuple(mask.nonzero()[:, 0] for mask in masks)


def time_split(times: Tensor, val: float, test: float) -> tuple[Tensor, ...]:
    """Return the row indices of three splits in the order of time, (rows,): training, validation and test."""
    order = times.argsort(stable=True)
    return tuple(part.sort().values for part in order.split(sizes(len(times), val, test)))


def fingerprint(splits: Iterable[Rows]) -> str:
    """Return the SHA-256 of inputs, targets and weights of up to 1,000 evenly spaced rows of each split."""
    digest = hashlib.sha256()
    for rows in splits:
        count = min(len(rows), 1_000)
        index = torch.arange(count) * (len(rows) - 1) // max(count - 1, 1)
        for values in rows.gather(index):
            digest.update(values.cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
