"""A user's own table: CSV or Parquet, columns by name, values in their own units."""

from typing import Literal

import torch
from torch import Tensor

from project.data.datamodule import RowsDataModule, Splits
from project.data.loader import Rows
from project.data.split import check_fractions, random_split
from project.data.table import column_names, read_labels, read_numbers, require_columns, sorted_labels
from project.errors import UserError

MEND = "mend it, choose numeric columns with --data.features, or learn classes with --data.task classification"


class TabularDataModule(RowsDataModule):
    """Rows of a table, split at random or given as separate files.

    Args:
        path: A CSV file, a Parquet file or a folder of Parquet files.
        target: Name of the target column, or names.
        features: Names of the feature columns; all that are not targets unless given.
        task: Whether the target is numbers, or classes: labels of any spelling, in text or integers.
        val_path: A table of validation rows; without it they are split from `path`.
        test_path: A table of test rows; without it they are split from `path`.
        val_fraction: Part of the rows of `path` to validate on, without `val_path`.
        test_fraction: Part of the rows of `path` to test on, without `test_path`.
        missing: What to do about missing values: stop with an error, drop their rows, or put the column's mean over the
            training rows in their place. Rows without a target are dropped in either case.
        batch_size: Rows a batch and process.
        num_workers: Worker processes that gather batches.
        seed: Seed of the split and of the order of batches.
    """

    def __init__(
        self,
        path: str,
        target: str | list[str],
        features: list[str] | None = None,
        task: Literal["regression", "classification"] = "regression",
        val_path: str | None = None,
        test_path: str | None = None,
        val_fraction: float = 0.1,
        test_fraction: float = 0.2,
        missing: Literal["error", "drop", "mean"] = "error",
        batch_size: int = 32,
        num_workers: int = 0,
        seed: int = 0,
    ) -> None:
        super().__init__(batch_size, num_workers, seed)
        self.task = task
        self.path, self.val_path, self.test_path, self.missing = path, val_path, test_path, missing
        self.val_fraction, self.test_fraction = check_fractions(
            None if val_path else val_fraction, None if test_path else test_fraction
        )
        present = column_names(path)
        self.target_names = [target] if isinstance(target, str) else target
        require_columns(path, self.target_names, present, "--data.target")
        others = [name for name in present if name not in self.target_names]
        self.feature_names = others if features is None else features
        require_columns(path, self.feature_names, present, "--data.features")
        named = [*self.feature_names, *self.target_names]
        if not self.feature_names or not self.target_names:
            raise UserError("--data.features and --data.target: give at least one column each")
        if task == "classification":
            if len(self.target_names) != 1:
                raise UserError("--data.target: classification takes one target column")
            self.class_names = sorted_labels(read_labels(path, self.target_names[0]))
            if len(self.class_names) < 2:
                raise UserError(f"{path}: column {self.target_names[0]!r} has no two classes: {self.class_names}")
        twice = next((name for name in named if named.count(name) > 1), None)
        if twice is not None:
            raise UserError(f"--data.features and --data.target: column {twice!r} is named twice")

    def load(self) -> Splits:
        """Read the tables and split them."""
        table = self._read(self.path)
        train, val, test = self._split(table)
        val = self._read(self.val_path) if self.val_path else val
        test = self._read(self.test_path) if self.test_path else test
        width = len(self.feature_names)
        if self.missing == "mean":
            means = train[:, :width].nanmean(0)
            train, val, test = (
                torch.where(t.isnan(), torch.cat([means, means.new_zeros(t.shape[1] - width)]), t)
                for t in (train, val, test)
            )
        parts = ((part[:, :width], part[:, width:]) for part in (train, val, test))
        return Splits(*(Rows(x, y if self.class_names is None else y[:, 0].long()) for x, y in parts))

    def _read(self, path: str) -> Tensor:
        """The features and targets of a table, (rows, features + targets) in float64, NaN only in features to fill."""
        columns = self.feature_names + self.target_names
        if path != self.path:
            require_columns(path, columns, column_names(path), "the columns of --data.path")
        table = read_numbers(path, columns, MEND) if self.class_names is None else self._read_classes(path)
        if len(table) == 0:
            raise UserError(f"{path}: there are no rows under the header")
        gaps = table.isnan()
        counts = gaps.sum(0)
        if counts.any() and self.missing == "error":
            listed = ", ".join(f"{name} {n}" for name, n in zip(columns, counts.tolist(), strict=True) if n)
            raise UserError(f"{path}: missing values ({listed}): give --data.missing drop or --data.missing mean")
        if self.missing == "mean":
            gaps = gaps[:, len(self.feature_names) :]
            empty = next((n for n, c in zip(columns, counts.tolist(), strict=True) if c == len(table)), None)
            if empty is not None:
                raise UserError(f"{path}: column {empty!r} has no values at all: leave it out with --data.features")
        kept = ~gaps.any(1)
        if not kept.any():
            raise UserError(f"{path}: no row is without missing values: try --data.missing mean")
        return table if kept.all() else table[kept]

    def _read_classes(self, path: str) -> Tensor:
        """As `read_numbers`, with class numbers in the target's place."""
        assert self.class_names is not None
        numbers = {label: number for number, label in enumerate(self.class_names)}
        labels = read_labels(path, self.target_names[0])
        for row, label in enumerate(labels):
            if label is not None and label not in numbers:
                raise UserError(
                    f"{path}: column {self.target_names[0]!r}, row {row + 1}: class {label!r} is not in {self.path}"
                )
        codes = torch.tensor([torch.nan if label is None else numbers[label] for label in labels], dtype=torch.float64)
        return torch.cat([read_numbers(path, self.feature_names, MEND), codes[:, None]], dim=1)

    def _split(self, table: Tensor) -> tuple[Tensor, ...]:
        parts = random_split(len(table), self.val_fraction, self.test_fraction, self.seed)
        needed = [True, self.val_path is None, self.test_path is None]
        for name, part, need in zip(("training", "validation", "test"), parts, needed, strict=True):
            if need and not len(part):
                raise UserError(
                    f"{self.path}: {len(table)} rows leave none for the {name} split: "
                    "give more rows or other --data.val_fraction and --data.test_fraction"
                )
        return tuple(table[part] for part in parts)
