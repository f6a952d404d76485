"""Rows of a table, CSV or Parquet, whose columns are chosen by name."""

from collections.abc import Iterator
from typing import Any, Literal

import pyarrow as pa
import pyarrow.compute as pc
import torch
from torch import Tensor

from project.data.datamodule import RowsDataModule, Splits
from project.data.loader import Batch, Rows
from project.data.numbers import check_float32
from project.data.split import check_fractions, check_not_empty, random_split
from project.data.statistics import check_means
from project.data.streaming import StreamedSplits
from project.data.table import column_names, distinct_labels, number_blocks, require_columns
from project.runtime.errors import UserError
from project.runtime.ranges import RightOpenUnitInterval

TEXT_HINT = "correct it, choose numeric columns with --data.features, or set --data.task classification"


class TabularDataModule(RowsDataModule):
    """Rows of a table, split at random or given as separate files.

    Args:
        path: A CSV file, a Parquet file or a folder of Parquet files.
        target: Name of the target column, or a list of names.
        features: Names of the feature columns; all columns that are not targets by default.
        task: Whether the target is numbers, or classes: labels of any spelling, as text or integers.
        val_path: A table of validation rows; by default they are split from `path`.
        test_path: A table of test rows; by default they are split from `path`.
        val_fraction: Fraction of the rows of `path` to validate on; unused with `val_path`.
        test_fraction: Fraction of the rows of `path` to test on; unused with `test_path`.
        missing: What to do about missing values: stop with an error, drop their rows, or replace them by the column's
            mean over the training rows. Rows without a target are dropped in either case.
        stream: Whether to keep the rows on disk, for tables larger than memory: they are read once, block by block,
            and written to temporary files of float32 under $TMPDIR. Each row is assigned to a split independently.
        **kwargs: Arguments of `RowsDataModule`.
    """

    def __init__(
        self,
        path: str,
        target: str | list[str],
        features: list[str] | None = None,
        task: Literal["regression", "classification"] = "regression",
        val_path: str | None = None,
        test_path: str | None = None,
        val_fraction: RightOpenUnitInterval = 0.1,
        test_fraction: RightOpenUnitInterval = 0.2,
        missing: Literal["error", "drop", "mean"] = "error",
        stream: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.source, self.path, self.val_path, self.test_path = path, path, val_path, test_path
        self.missing, self.stream = missing, stream
        self.val_fraction = 0.0 if val_path else val_fraction
        self.test_fraction = 0.0 if test_path else test_fraction
        check_fractions(self.val_fraction, self.test_fraction)
        present = column_names(path)
        self.target_names = [target] if isinstance(target, str) else target
        require_columns(path, self.target_names, present, "--data.target")
        others = [name for name in present if name not in self.target_names]
        self.feature_names = others if features is None else features
        require_columns(path, self.feature_names, present, "--data.features")
        self._columns = self.feature_names + self.target_names
        require_columns(path, self._columns, present, "--data.features, --data.target")
        if task == "classification":
            name, *more = self.target_names
            if more:
                raise UserError(f"--data.target: must be one column for classification, got {len(self.target_names)}")
            self.class_names = distinct_labels(path, name)
            if len(self.class_names) < 2:
                raise UserError(f"{path}: column {name!r} has fewer than two classes: {self.class_names}")

    def load(self) -> Splits:
        """Read the tables and split them."""
        if self.stream:
            return self._stream()
        try:
            return self._in_memory()
        except (RuntimeError, MemoryError) as error:  # torch raises a plain RuntimeError
            if isinstance(error, MemoryError) or "allocate memory" in str(error):
                raise UserError(f"{self.path}: its rows do not fit into memory; set --data.stream true") from error
            raise

    def _in_memory(self) -> Splits:
        table = self._read(self.path)
        parts = random_split(len(table), self.val_fraction, self.test_fraction, self.seed)
        train, val, test = (table[part] for part in parts)
        val = self._read(self.val_path) if self.val_path else val
        test = self._read(self.test_path) if self.test_path else test
        check_not_empty(self.path, [len(train), len(val), len(test)])
        if self.missing == "mean":
            means = train.nanmean(0)
            check_means(self.path, means, self._columns)
            train, val, test = (torch.where(part.isnan(), means, part) for part in (train, val, test))
        return Splits(*(Rows(*self._x_and_y(part)) for part in (train, val, test)))

    def _read(self, path: str) -> Tensor:
        """Read features and targets, (rows, features + targets) in float64, with NaN only for gaps to be filled."""
        table = torch.cat(list(self._blocks(path)))
        counts = table.isnan().sum(0)
        if self.missing == "error" and counts.any():
            listed = ", ".join(f"{name} {n}" for name, n in zip(self._columns, counts.tolist(), strict=True) if n)
            raise UserError(f"{path}: missing values ({listed}); set --data.missing drop or --data.missing mean")
        kept = self._is_kept(table)
        if not kept.any():
            raise UserError(f"{path}: every row has missing values; set --data.missing mean")
        return table if kept.all() else table[kept]

    def _stream(self) -> Splits:
        """Read the tables into temporary files, computing the summary in the same pass."""
        targets = len(self.target_names) if self.class_names is None else 0
        streamed = StreamedSplits(self.path, self.feature_names, targets, fill=self.missing == "mean")
        for name, x, y in self._streamed_parts():
            streamed.append(name, x, y)
        splits, self.summary = streamed.splits(), streamed.summary()
        self._means = streamed.means if streamed.fill else None
        return splits

    def _streamed_parts(self) -> Iterator[tuple[str, Tensor, Tensor]]:
        """Read the tables block by block, and yield the name of a split with some of its rows."""
        generator = torch.Generator().manual_seed(self.seed)
        for path, split in [(self.path, None), (self.val_path, "val"), (self.test_path, "test")]:
            if not path:
                continue
            row = 1
            for block in self._blocks(path):
                if self.missing == "error":
                    check_float32(path, block, self._columns, row, "set --data.missing drop or --data.missing mean")
                row += len(block)
                for name, part in self._divide(block[self._is_kept(block)], split, generator):
                    if len(part):
                        yield name, *self._x_and_y(part)

    def exact_training_rows(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the training rows before rounding; those of a stream, which are float32 on disk, are read again."""
        if not self.stream:
            yield from super().exact_training_rows()
            return
        _ = self.splits  # which has computed the means of columns with gaps
        for name, x, y in self._streamed_parts():
            if name == "train":
                yield (x if self._means is None else torch.where(x.isnan(), self._means, x)), y

    def _divide(self, rows: Tensor, split: str | None, generator: torch.Generator) -> list[tuple[str, Tensor]]:
        """Assign rows to a split, or each row to a random one."""
        if split is not None:
            return [(split, rows)]
        draws = torch.rand(len(rows), generator=generator)
        val, test = draws < self.val_fraction, draws >= 1 - self.test_fraction
        return [("train", rows[~val & ~test]), ("val", rows[val]), ("test", rows[test])]

    def _is_kept(self, rows: Tensor) -> Tensor:
        """Whether each row has a target and, unless gaps are filled, all features: (rows,)."""
        needed = rows[:, len(self.feature_names) :] if self.missing == "mean" else rows
        return ~needed.isnan().any(1)

    def _x_and_y(self, rows: Tensor) -> Batch:
        x, y = rows[:, : len(self.feature_names)], rows[:, len(self.feature_names) :]
        return x, y if self.class_names is None else y[:, 0].long()

    def _blocks(self, path: str) -> Iterator[Tensor]:
        """Read features and targets (class numbers for labels) in blocks (rows, features + targets), float64."""
        if path != self.path:
            require_columns(path, self._columns, column_names(path), "a column of --data.path")
        numeric = self._columns if self.class_names is None else self.feature_names
        target = None if self.class_names is None else self.target_names[0]
        rows = 0
        for block, labels in number_blocks(path, numeric, TEXT_HINT, labels=target):
            if labels is not None:
                block = torch.cat([block, self._class_numbers(path, labels, rows)], dim=1)
            rows += len(block)
            yield block
        if rows == 0:
            raise UserError(f"{path}: no rows below the header")

    def _class_numbers(self, path: str, labels: pa.Array, done: int) -> Tensor:
        """Convert labels to class numbers, (rows, 1) in float64, NaN where missing."""
        codes = pc.index_in(labels, pa.array(self.class_names))
        unknown = pc.and_(pc.is_null(codes), pc.is_valid(labels))
        if pc.any(unknown).as_py():
            row = pc.index(unknown, True).as_py()
            place = f"{path}: column {self.target_names[0]!r}, row {done + row + 1}"
            raise UserError(f"{place}: class {labels[row].as_py()!r} is not in {self.path}")
        return torch.tensor(codes.cast(pa.float64()).fill_null(float("nan")).to_numpy(zero_copy_only=False))[:, None]
