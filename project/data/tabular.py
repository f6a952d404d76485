"""A user's own table: CSV or Parquet, columns by name, values in their own units."""

from collections.abc import Iterator
from typing import Literal

import pyarrow as pa
import pyarrow.compute as pc
import torch
from torch import Tensor

from project.data.datamodule import FLOAT32_MAX, RowsDataModule, Splits
from project.data.loader import Batch, Rows
from project.data.split import check_fractions, random_split
from project.data.spool import StreamedSplits
from project.data.table import column_names, distinct_labels, first_repeated, number_blocks, require_columns
from project.runtime.errors import UserError

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
        stream: Whether to keep the rows on disk, for tables larger than memory: they are read once, block by block,
            into a temporary file of float32 under $TMPDIR. Each row is then drawn into a split by itself.
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
        stream: bool = False,
        batch_size: int = 32,
        num_workers: int = 0,
        seed: int = 0,
    ) -> None:
        super().__init__(batch_size, num_workers, seed)
        self.task = task
        self.path, self.val_path, self.test_path, self.missing = path, val_path, test_path, missing
        self.stream = stream
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
            self.class_names = distinct_labels(path, self.target_names[0])
            if len(self.class_names) < 2:
                raise UserError(f"{path}: column {self.target_names[0]!r} has no two classes: {self.class_names}")
        if (twice := first_repeated(named)) is not None:
            raise UserError(f"--data.features and --data.target: column {twice!r} is named twice")

    def load(self) -> Splits:
        """Read the tables and split them."""
        if self.stream:
            return self._stream()
        try:
            return self._in_memory()
        except (RuntimeError, MemoryError) as error:  # torch's own has no type
            if not isinstance(error, MemoryError) and "allocate memory" not in str(error):
                raise
            raise UserError(f"{self.path}: its rows do not fit into memory: give --data.stream true") from error

    def _in_memory(self) -> Splits:
        train, val, test = self._split(self._read(self.path))
        val = self._read(self.val_path) if self.val_path else val
        test = self._read(self.test_path) if self.test_path else test
        if self.missing == "mean":
            means = train.nanmean(0)
            train, val, test = (torch.where(part.isnan(), means, part) for part in (train, val, test))
        return Splits(*(Rows(*self._x_and_y(part)) for part in (train, val, test)))

    def _x_and_y(self, rows: Tensor) -> Batch:
        x, y = rows[:, : len(self.feature_names)], rows[:, len(self.feature_names) :]
        return x, y if self.class_names is None else y[:, 0].long()

    def _stream(self) -> Splits:
        """Read the tables into temporary files, with the summary from the same pass."""
        targets = len(self.target_names) if self.class_names is None else 0
        tables = StreamedSplits(len(self.feature_names), targets, fill=self.missing == "mean")
        generator = torch.Generator().manual_seed(self.seed)
        for path, whole in [(self.path, None), (self.val_path, "val"), (self.test_path, "test")]:
            for block in self._kept(path) if path else ():
                draws = torch.rand(len(block), generator=generator)
                val, test = draws < self.val_fraction, draws >= 1 - self.test_fraction
                parts = (
                    {whole: block} if whole else {"train": block[~val & ~test], "val": block[val], "test": block[test]}
                )
                for split, part in parts.items():
                    if len(part):
                        tables.append(split, *self._x_and_y(part))
        splits, self.summary = tables.splits(), tables.summary()
        return splits

    def _kept(self, path: str) -> Iterator[Tensor]:
        """Blocks of rows to learn from, and an error for what float32 cannot hold."""
        columns, row = self.feature_names + self.target_names, 0
        for block in self._blocks(path):
            gaps = block.isnan()
            wrong = (gaps if self.missing == "error" else torch.zeros_like(gaps)) | (block.abs() > FLOAT32_MAX)
            if wrong.any():
                at, column = wrong.nonzero()[0].tolist()
                what = "a missing value: give --data.missing drop" if gaps[at, column] else "too large for float32"
                raise UserError(f"{path}: column {columns[column]!r}, row {row + at + 1}: {what}")
            row += len(block)
            needed = gaps if self.missing == "drop" else gaps[:, len(self.feature_names) :]
            yield block[~needed.any(1)]
        if row == 0:
            raise UserError(f"{path}: there are no rows under the header")

    def _read(self, path: str) -> Tensor:
        """The features and targets of a table, (rows, features + targets) in float64, NaN only in features to fill."""
        columns = self.feature_names + self.target_names
        blocks = list(self._blocks(path))
        if not blocks:
            raise UserError(f"{path}: there are no rows under the header")
        table = torch.cat(blocks)
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

    def _blocks(self, path: str) -> Iterator[Tensor]:
        """Features and targets, with class numbers for labels, block by block: (rows, features + targets), float64."""
        if path != self.path:
            columns = self.feature_names + self.target_names
            require_columns(path, columns, column_names(path), "the columns of --data.path")
        if self.class_names is None:
            yield from (block for block, _ in number_blocks(path, self.feature_names + self.target_names, MEND))
            return
        row, target = 0, self.target_names[0]
        for block, labels in number_blocks(path, self.feature_names, MEND, labels=target):
            assert labels is not None
            codes = pc.index_in(labels, pa.array(self.class_names))
            unknown = pc.and_(pc.is_null(codes), pc.is_valid(labels))
            if pc.any(unknown).as_py():
                at = pc.index(unknown, True).as_py()
                raise UserError(
                    f"{path}: column {target!r}, row {row + at + 1}: class {labels[at].as_py()!r} is not in {self.path}"
                )
            row += len(block)
            numbers = codes.cast(pa.float64()).fill_null(float("nan")).to_numpy(zero_copy_only=False)
            yield torch.cat([block, torch.tensor(numbers)[:, None]], dim=1)

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
