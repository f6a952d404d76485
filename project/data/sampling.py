"""Which rows are learned from: few labels, one fold of several, a bootstrap sample."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from project.data.loader import Rows
from project.data.table import column_names, read_numbers, require_columns
from project.runtime.errors import UserError

UNLABELLED = -1  # as scikit-learn has it for classes; a number that is unknown is NaN


@dataclass(frozen=True)
class Sampling:
    """A choice among the rows that a data module has.

    Args:
        labels: Keep the labels of so many training rows, of all classes alike; the other rows are left out.
        unlabelled: Whether the other rows stay, for a teacher to label them.
        unlabelled_path: A table with further rows for a teacher to label.
        folds: Cut all rows into so many parts of equal size (of classes alike), of which one is tested on.
        fold: Which of them is tested on, from 0.
        bootstrap: Seed of a bootstrap sample of the training rows: each weighs as often as it was drawn.
        seed: Seed of the choice of labels and of the cut into folds.

    Raises:
        UserError: If a number is out of range.
    """

    labels: int | None = None
    unlabelled: bool = False
    unlabelled_path: str | None = None
    folds: int | None = None
    fold: int = 0
    bootstrap: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if self.labels is not None and self.labels < 1:
            raise UserError(f"--sampling.labels is {self.labels}: give 1 or more")
        if self.unlabelled and self.labels is None:
            raise UserError("--sampling.unlabelled: say how many rows keep their labels, with --sampling.labels")
        if self.folds is not None and self.folds < 2:
            raise UserError(f"--sampling.folds is {self.folds}: give 2 or more")
        if not 0 <= self.fold < (self.folds or 1):
            raise UserError(f"--sampling.fold is {self.fold}: give 0 to one below --sampling.folds")
        for flag, value in [("bootstrap", self.bootstrap), ("seed", self.seed)]:
            if value is not None and value < 0:
                raise UserError(f"--sampling.{flag} is {value}: give 0 or more")

    @property
    def has_unlabelled(self) -> bool:
        """Whether there are rows without labels."""
        return self.unlabelled or self.unlabelled_path is not None

    @property
    def is_active(self) -> bool:
        """Whether the rows are others than those of the data module."""
        return self.labels is not None or self.folds is not None or self.unlabelled_path is not None

    def choose(self, splits: Sequence[Rows], features: list[str], window: int) -> list[Rows]:
        """The training, validation and test rows that are taken of others.

        Args:
            splits: All training, validation and test rows.
            features: Names of the columns of x, to find them in `unlabelled_path`.
            window: Above 0 where rows are windows of a series, which are not to be torn apart.

        Raises:
            UserError: If there are too few rows.
        """
        if window and (self.folds or self.unlabelled_path):
            flag = "folds" if self.folds else "unlabelled_path"
            raise UserError(f"--sampling.{flag}: windows of one series overlap and stay together: leave it out")
        train, val, test = splits
        if self.folds is not None:
            x, y = (torch.cat(parts) for parts in zip(*((rows.x, rows.y) for rows in splits), strict=True))
            parts = self._cut(y, len(val) / (len(train) + len(val)))
            train, val, test = (Rows(x[part], y[part]) for part in parts)
        if self.labels is not None:
            train = self._with_few_labels(train)
        if self.unlabelled_path is not None:
            train = _with_more(train, self.unlabelled_path, features)
        return [train, val, test]

    def _with_few_labels(self, rows: Rows) -> Rows:
        if self.labels is None or self.labels > len(rows):
            raise UserError(f"--sampling.labels is {self.labels}: there are {len(rows)} training rows")
        kept = balanced_order(rows.y, self.seed)[: self.labels].sort().values
        if not self.unlabelled:
            return Rows(rows.x[kept], rows.y[kept])
        return Rows(rows.x, torch.full_like(rows.y, _unknown(rows.y)).index_copy(0, kept, rows.y[kept]))

    def _cut(self, y: Tensor, val_fraction: float) -> list[Tensor]:
        """Numbers of the rows to train on, validate on and test on, each ascending."""
        folds = self.folds or 2
        if len(y) < 2 * folds:
            raise UserError(f"--sampling.folds is {folds}: {len(y)} rows are too few, give at most {len(y) // 2}")
        order = balanced_order(y, self.seed)
        if not y.is_floating_point():
            order = order[y[order].argsort(stable=True)]  # class by class: every k-th row has each in its share
        tested = torch.arange(len(y)) % folds == self.fold
        rest = order[~tested]
        count = max(1, round(val_fraction * len(rest)))
        validated = torch.zeros(len(rest), dtype=torch.bool)
        validated[torch.arange(count) * len(rest) // count] = True
        return [part.sort().values for part in (rest[~validated], rest[validated], order[tested])]

    def bootstrap_weights(self, rows: int, members: int) -> Tensor | None:
        """How often each row is drawn in as many draws as there are rows: (rows, members), or None without bootstrap.

        Member k draws with the seed plus k. Source: Efron, "Bootstrap Methods: Another Look at the Jackknife" (1979).
        """
        if self.bootstrap is None:
            return None
        seeds = range(self.bootstrap, self.bootstrap + members)
        draws = (torch.randint(rows, (rows,), generator=torch.Generator().manual_seed(seed)) for seed in seeds)
        return torch.stack([drawn.bincount(minlength=rows) for drawn in draws], dim=1).float()


def is_labelled(y: Tensor) -> Tensor:
    """Which rows have a label: targets (rows, out_features), or (rows,) of classes -> bool (rows,)."""
    return ~y.isnan().any(1) if y.is_floating_point() else y != UNLABELLED


def _unknown(y: Tensor) -> float:
    return torch.nan if y.is_floating_point() else UNLABELLED


def _with_more(rows: Rows, path: str, features: list[str]) -> Rows:
    """Rows and those of a table, which have no labels."""
    require_columns(path, features, column_names(path), "the features")
    x = read_numbers(path, features)
    if not x.float().isfinite().all():
        row, column = (~x.float().isfinite()).nonzero()[0].tolist()
        raise UserError(f"{path}: column {features[column]!r}, row {row + 1}: no finite float32: mend or drop it")
    y = rows.y.new_full((len(x), *rows.y.shape[1:]), _unknown(rows.y))
    return Rows(torch.cat([rows.x, x.to(rows.x.dtype).view(-1, *rows.x.shape[1:])]), torch.cat([rows.y, y]))


def balanced_order(y: Tensor, seed: int) -> Tensor:
    """Row numbers in random order, such that every stretch of it has classes (where y is of classes) in their shares.

    Rows are ordered by their rank among those of their class: equal numbers come first, until a class has no more.
    """
    order = torch.randperm(len(y), generator=torch.Generator().manual_seed(seed))
    if y.is_floating_point():
        return order
    classes = torch.nn.functional.one_hot(y[order])
    ranks = classes.cumsum(0).gather(1, y[order, None])[:, 0]
    return order[ranks.argsort(stable=True)]
