"""Selection of rows: few labels, one fold of a cross-validation, or a bootstrap sample."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from project.data.loader import Rows
from project.runtime.errors import UserError
from project.runtime.ranges import IntFromTwo, NonNegativeInt, PositiveInt

UNLABELLED = -1  # class index of a missing label, as in scikit-learn; a missing number is NaN


@dataclass(frozen=True)
class Sampling:
    """Selection of rows of a data module.

    Args:
        labels: Number of training rows to use with their labels, balanced over classes; the others are removed.
        unlabelled: Whether to keep the other rows without labels, for distillation.
        unlabelled_path: A table with additional rows without labels, for distillation.
        folds: Number of folds of equal size (balanced over classes); one fold is the test split.
        fold: Index of the fold that is the test split, starting at 0.
        bootstrap: Seed of a bootstrap sample of the training rows; the weight of a row is how often it was drawn.
        seed: Seed of the selection of labels and of the folds.

    Raises:
        UserError: If arguments contradict each other.
    """

    labels: PositiveInt | None = None
    unlabelled: bool = False
    unlabelled_path: str | None = None
    folds: IntFromTwo | None = None
    fold: NonNegativeInt = 0
    bootstrap: NonNegativeInt | None = None
    seed: NonNegativeInt = 0

    def __post_init__(self) -> None:
        problem = ""
        if self.unlabelled and self.labels is None:
            problem = "unlabelled: set --sampling.labels, the number of rows that keep their labels"
        elif self.fold >= (self.folds or 1):
            problem = f"fold: must be below --sampling.folds ({self.folds or 'not set'}), got {self.fold}"
        if problem:
            raise UserError(f"--sampling.{problem}")

    @property
    def has_unlabelled(self) -> bool:
        """Whether there are training rows without labels."""
        return self.unlabelled or self.unlabelled_path is not None

    @property
    def is_active(self) -> bool:
        """Whether the splits differ from those of the data module."""
        return self.labels is not None or self.folds is not None or self.unlabelled_path is not None

    def apply(self, splits: Sequence[Rows], read_inputs: Callable[[str], Tensor], window: int) -> list[Rows]:
        """Select the training, validation and test rows.

        Args:
            splits: The training, validation and test rows of the data module.
            read_inputs: Reads x of a table without labels.
            window: Above 0 if rows are windows of a series.

        Raises:
            UserError: If the rows do not allow this selection.
        """
        if window and (self.folds or self.unlabelled_path):
            flag = "folds" if self.folds else "unlabelled_path"
            raise UserError(f"--sampling.{flag}: is not supported for overlapping windows of a series; remove it")
        train, val, test = splits
        if self.folds is not None:
            every = _joined(splits)
            parts = self._fold_split(every.y, self.folds, len(val) / (len(train) + len(val)))
            train, val, test = map(every.select, parts)
        if self.labels is not None:
            train = self._with_few_labels(train, self.labels)
        if self.unlabelled_path is not None:
            train = _with_unlabelled(train, read_inputs(self.unlabelled_path))
        return [train, val, test]

    def _with_few_labels(self, rows: Rows, labels: int) -> Rows:
        if labels > len(rows):
            raise UserError(f"--sampling.labels: there are only {len(rows)} training rows, got {labels}")
        kept = balanced_order(rows.y, self.seed)[:labels].sort().values
        if not self.unlabelled:
            return rows.select(kept)
        y = torch.full_like(rows.y, _missing_label(rows.y)).index_copy(0, kept, rows.y[kept])
        return Rows(rows.x, y, weights=rows.weights)

    def _fold_split(self, y: Tensor, folds: int, val_fraction: float) -> list[Tensor]:
        """Return the row indices of the training, validation and test split, each in ascending order."""
        if len(y) < 2 * folds:
            raise UserError(f"--sampling.folds: must be at most {len(y) // 2} for {len(y)} rows, got {folds}")
        order = balanced_order(y, self.seed)
        if not y.is_floating_point():
            order = order[y[order].argsort(stable=True)]  # by class: every k-th row is a stratified sample
        tested = torch.arange(len(y)) % folds == self.fold
        rest = order[~tested]
        count = max(1, round(val_fraction * len(rest)))
        validated = torch.zeros(len(rest), dtype=torch.bool)
        validated[torch.arange(count) * len(rest) // count] = True  # evenly spaced
        return [part.sort().values for part in (rest[~validated], rest[validated], order[tested])]

    def bootstrap_weights(self, rows: int, members: int) -> Tensor | None:
        """Return how often each of n rows occurs in n draws with replacement, (rows, members); None without bootstrap.

        Member k uses the seed plus k. Source: Efron, "Bootstrap Methods: Another Look at the Jackknife" (1979).
        """
        if self.bootstrap is None:
            return None
        seeds = range(self.bootstrap, self.bootstrap + members)
        draws = (torch.randint(rows, (rows,), generator=torch.Generator().manual_seed(seed)) for seed in seeds)
        return torch.stack([drawn.bincount(minlength=rows) for drawn in draws], dim=1).float()


def is_labelled(y: Tensor) -> Tensor:
    """Return whether each row has a label: targets (rows, out_features), or (rows,) for classes -> (rows,), bool."""
    return ~y.isnan().any(1) if y.is_floating_point() else y != UNLABELLED


def _joined(splits: Sequence[Rows]) -> Rows:
    weights = [rows.weights for rows in splits if rows.weights is not None]
    x, y = (torch.cat([getattr(rows, name) for rows in splits]) for name in ("x", "y"))
    return Rows(x, y, weights=torch.cat(weights) if weights else None)


def _missing_label(y: Tensor) -> float:
    return torch.nan if y.is_floating_point() else UNLABELLED


def _with_unlabelled(rows: Rows, x: Tensor) -> Rows:
    """Append rows without labels."""
    if rows.weights is not None:
        raise UserError("--sampling.unlabelled_path: its rows have no weights; remove it, or --data.weights")
    y = rows.y.new_full((len(x), *rows.y.shape[1:]), _missing_label(rows.y))
    return Rows(torch.cat([rows.x, x.to(rows.x.dtype).view(-1, *rows.x.shape[1:])]), torch.cat([rows.y, y]))


def balanced_order(y: Tensor, seed: int) -> Tensor:
    """Return row indices in random order. If y has classes, each prefix is balanced over the classes.

    Rows are ordered by their rank within their class, so the classes alternate until one is exhausted.
    """
    order = torch.randperm(len(y), generator=torch.Generator().manual_seed(seed))
    if y.is_floating_point():
        return order
    classes = torch.nn.functional.one_hot(y[order])
    ranks = classes.cumsum(0).gather(1, y[order, None])[:, 0]
    return order[ranks.argsort(stable=True)]
