"""The data module for tables, CSV or Parquet."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from typing import Any, Literal

import pyarrow as pa
import torch
from torch import Tensor

from project.data.columns import (
    Kind,
    Parsed,
    check_kinds,
    choose_features,
    index_columns,
    inferred,
    parse_fields,
    require_values,
    task_of,
    warn_of_levels,
)
from project.data.csv_files import report_format
from project.data.csv_format import GUESSED, CSVFormat
from project.data.datamodule import RowsDataModule, Splits
from project.data.labels import distinct_labels, parse_targets
from project.data.loader import Rows
from project.data.numbers import check_float32, plus
from project.data.row_weights import read_weights
from project.data.split import check_not_empty
from project.data.streaming import StreamedSplits
from project.data.table import column_names, first_rows, read_table, require_columns, table_blocks
from project.data.table_split import TableSplit
from project.runtime.errors import UserError
from project.runtime.ranges import RightOpenUnitInterval
from project.schema import Schema
from project.schema.field import Missing
from project.schema.offset import Offset
from project.schema.schema import FieldError
from project.schema.spelling import spellings


class TabularDataModule(RowsDataModule):
    """Rows of a table, split at random or given as separate files.

    The kind of a column (number, boolean, category or date) is inferred from its values. Categories are one-hot encoded
    without the first level, and dates are encoded as several numbers.

    Args:
        path: A CSV file, a Parquet file, a folder of such files, or a workbook, whose first sheet is read.
        target: Name of the target column, or a list of names.
        features: Names of the feature columns; by default all columns that are not targets.
        exclude: Names of columns that are not used as features.
        kinds: Kinds of columns that should not be inferred, such as `{zip: category, note: ignore}`.
        task: Whether the targets are numbers, or classes, which are labels of text or integers. By default, text and
            booleans are classes.
        val_path: A table of validation rows; by default they are split from `path`.
        test_path: A table of test rows; by default they are split from `path`.
        val_fraction: Fraction of the rows of `path` to validate on; unused with `val_path`.
        test_fraction: Fraction of the rows of `path` to test on; unused with `test_path`.
        group: Name of a column, such as a patient; rows with equal values are in the same split. It is not a feature
            unless `features` contains it.
        time: Name of a column; the latest rows are the test split, those before them the validation split.
        weights: Name of a column of row weights, 0 or more, which is not a feature. They are factors of the loss of
            each row, in training and in reported losses. Other metrics count every row once, as in scikit-learn.
        missing: Treatment of missing values. `fill` replaces them by the mean of the training rows and adds an
            indicator column (a category gets a level for them), `mean` and `median` only replace them, `drop` drops
            their rows, and `error` stops with an error. Rows without a target are always dropped.
        missing_values: Values that mean a missing one, in any column, such as `[-999, unknown]`. By default, a mark
            such as `?` in a column of numbers. Empty cells, `NA`, `NaN` and `null` are always missing.
        csv: Format of CSV files; by default it is inferred from their first lines.
        stream: Whether to keep the rows on disk, for tables larger than memory. They are read block by block, and
            written to temporary float32 files under $TMPDIR. Each row is assigned to a split independently.
        **kwargs: Arguments of `RowsDataModule`.
    """

    def __init__(
        self,
        path: str,
        target: str | list[str],
        features: list[str] | None = None,
        exclude: list[str] | None = None,
        kinds: dict[str, Kind] | None = None,
        task: Literal["regression", "classification"] | None = None,
        val_path: str | None = None,
        test_path: str | None = None,
        val_fraction: RightOpenUnitInterval = 0.1,
        test_fraction: RightOpenUnitInterval = 0.2,
        group: str | None = None,
        time: str | None = None,
        weights: str | None = None,
        missing: Missing = "fill",
        missing_values: list[str | int | float] | None = None,
        csv: CSVFormat = GUESSED,
        stream: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.source, self.path, self.val_path, self.test_path = path, path, val_path, test_path
        self.missing, self.stream, self.kinds, self.csv, self.weights = missing, stream, kinds or {}, csv, weights
        self.missing_values = None if missing_values is None else spellings(missing_values)
        self.memory_hint = self.memory_hint if stream else "set --data.stream true"
        if stream and missing == "median":
            raise UserError("--data.missing median: needs the rows in memory; choose another, or remove --data.stream")
        fractions = 0.0 if val_path else val_fraction, 0.0 if test_path else test_fraction
        self.split = TableSplit(*fractions, self.seed, group, time)
        self.split.check(stream)
        present = column_names(path, csv)
        for each in filter(None, (path, val_path, test_path)):
            report_format(each, csv)
        self.target_names = [target] if isinstance(target, str) else target
        require_columns(path, self.target_names, present, "--data.target")
        check_kinds(path, self.kinds, present)
        self._first = first_rows(path, csv)
        self.rows_left_out: Counter[str] = Counter()
        self._offsets = [Offset() for _ in self.target_names]
        weight_names = [] if weights is None else [weights]
        for flag, name in (*self.split.columns.items(), *(("--data.weights", name) for name in weight_names)):
            require_columns(path, [name], present, flag)
        self.left_out = index_columns(self._first) if features is None else []
        others = self.target_names + weight_names
        self.feature_names = choose_features(path, present, others, features, self._ignored(exclude or [], features))
        self._columns = self.feature_names + others
        if (task or task_of(self._first, self.target_names, self.kinds)) == "classification":
            if len(self.target_names) > 1:
                raise UserError(f"--data.target: must be one column for classification, got {len(self.target_names)}")
            self.class_names = distinct_labels(path, self.target_names[0], self.missing_values or [], csv)

    @classmethod
    def default_model(cls, arguments: Mapping[str, Any]) -> str:
        """Return the class path of the model that suits the target: of numbers, or of classes."""
        target, task = arguments["target"], arguments.get("task")
        names = [target] if isinstance(target, str) else target
        with suppress(UserError, KeyError):  # which the constructor describes
            first = first_rows(arguments["path"], CSVFormat(**arguments.get("csv", {})))
            task = task or task_of(first, names, arguments.get("kinds") or {})
        return "project.models.Classification" if task == "classification" else super().default_model(arguments)

    def _ignored(self, exclude: list[str], features: list[str] | None) -> list[str]:
        grouped = [self.split.group] if self.split.group and features is None else []
        return [*exclude, *(name for name, kind in self.kinds.items() if kind == "ignore"), *self.left_out, *grouped]

    def load(self) -> Splits:
        """Read the tables and split them."""
        return self._stream() if self.stream else self._in_memory()

    def _in_memory(self) -> Splits:
        table = self._table(self.path)
        learns = self.schema is None
        self.schema = self.schema or self._inferred(table)
        parsed = self._parse(self.path, table)
        classes = None if self.class_names is None else parsed.y[parsed.kept, 0].long()
        parts = self.split.rows(self.path, table, parsed.kept, classes, self.kinds)
        if learns:
            self._learn(parsed, parts[0])
            self._finish()
        splits = [*self._encoded(self.path, parsed, parts)]
        for number, path in [(1, self.val_path), (2, self.test_path)]:
            if path:
                splits[number] = self._rows(path)
        check_not_empty(self.path, list(map(len, splits)))
        return Splits(*splits)

    def _table(self, path: str, columns: list[str] | None = None) -> pa.Table:
        columns = self._columns if columns is None else columns
        if path == self.path:
            columns = list(dict.fromkeys([*columns, *self.split.columns.values()]))
        present = column_names(path, self.csv)
        if self.weights in columns:
            require_columns(path, [self.weights], present, "--data.weights; null if a table has none")
        require_columns(path, columns, present, "a column of --data.path")
        texts = [name for name, kind in self.kinds.items() if kind == "category"]
        texts += self.target_names if self.class_names is not None else []
        table = read_table(path, columns, [name for name in texts if name in columns], self.csv)
        if not len(table):
            raise UserError(f"{path}: no rows below the header")
        return table

    def _inferred(self, table: pa.Table) -> Schema:
        return inferred(self.path, table, self.feature_names, self.kinds, self.missing, self.missing_values)

    @property
    def _known_schema(self) -> Schema:
        assert self.schema is not None
        return self.schema

    def _learn(self, parsed: Parsed, rows: Tensor) -> None:
        """Learn the schema and the offsets of the targets from some training rows, by their numbers."""
        self._known_schema.partial_fit(parsed.fields, rows.numpy())
        for offset, values in zip(self._offsets, parsed.y[rows].T.numpy(), strict=True):
            offset.partial_fit(values)

    def _finish(self) -> None:
        try:
            self._known_schema.finish()
        except FieldError as error:
            raise UserError(f"{self.path}: column {error.field!r} {error.problem}; use --data.exclude") from None
        offsets = [offset.value for offset in self._offsets]
        self.target_offsets = offsets if any(offsets) and self.class_names is None else None

    def _rows(self, path: str) -> Rows:
        """Read all rows of another table."""
        parsed = self._parse(path, self._table(path))
        [rows] = self._encoded(path, parsed, [parsed.kept])
        warn_of_levels(path, self._known_schema.unknown(rows.x.numpy()), len(rows))
        return rows

    def read_inputs(self, path: str) -> Tensor:
        """Read x of a table without targets, (rows, inputs)."""
        table = self._table(path, self.feature_names)
        return self._encode(path, parse_fields(self._known_schema, path, table))

    def _parse(self, path: str, table: pa.Table, first_row: int = 1) -> Parsed:
        fields = parse_fields(self._known_schema, path, table, first_row)
        known = self.class_names, self.path
        y = parse_targets(path, table.select(self.target_names), self.missing_values, *known, first_row)
        gaps, labelled = torch.from_numpy(self._known_schema.missing(fields)), ~y.isnan().any(1)
        self.rows_left_out["without a target"] += int((~labelled).sum())
        if self.missing == "error":
            names = self.feature_names + self.target_names
            require_values(path, torch.cat([gaps, y.isnan()], dim=1), names, first_row)
        complete = labelled
        if self.missing == "drop":
            complete = labelled & ~gaps.any(1)
            self.rows_left_out["with missing values"] += int((labelled & ~complete).sum())
        kept = complete.nonzero()[:, 0]
        weights = None if self.weights is None else read_weights(path, table, self.weights, kept, first_row)
        return Parsed(fields, y, weights, kept)

    def _encode(self, path: str, parsed: list[Any], first_row: int = 1) -> Tensor:
        """Return x (rows, inputs) in float64."""
        x = torch.from_numpy(self._known_schema.encode(parsed))
        check_float32(path, x, self._known_schema.names, first_row)
        return x

    def _encoded(self, path: str, parsed: Parsed, parts: Iterable[Tensor], first_row: int = 1) -> Iterator[Rows]:
        """Yield some of the rows, by their numbers, with the inputs and targets of a network, in float64."""
        x = self._encode(path, parsed.fields, first_row)
        for part in parts:
            weights = None if parsed.weights is None else parsed.weights[part]
            yield Rows(x[part], self._targets(parsed.y[part]), weights=weights)

    def _targets(self, y: Tensor) -> Tensor:
        if self.class_names is not None:
            return y[:, 0].long()
        return y if self.target_offsets is None else y - torch.tensor(self.target_offsets, dtype=y.dtype)

    def _stream(self) -> Splits:
        """Read the tables twice: to learn the schema, and into temporary files, with the summary in the same pass."""
        if self.schema is None:
            self.schema = self._inferred(self._first)
            for _, _, parsed, parts in self._streamed_blocks():
                if "train" in parts:
                    self._learn(parsed, parts["train"])
            self._finish()
            self.rows_left_out.clear()
        targets = len(self.target_names) if self.class_names is None else 0
        offsets = self.schema.offsets if any(self.schema.offsets) else None, self.target_offsets
        streamed = StreamedSplits(self.path, len(self.schema.names), targets, not any(self.schema.sizes), offsets)
        for name, rows in self._streamed_parts():
            streamed.append(name, *rows.gather(slice(None)))
        splits, self.summary = streamed.splits(), streamed.summary()
        return splits

    def _streamed_parts(self) -> Iterator[tuple[str, Rows]]:
        """Read the tables block by block, and yield the name of a split with some of its rows."""
        for path, row, parsed, parts in self._streamed_blocks():
            for name, rows in zip(parts, self._encoded(path, parsed, parts.values(), row), strict=True):
                if len(rows):
                    yield name, rows

    def _streamed_blocks(self) -> Iterator[tuple[str, int, Parsed, dict[str, Tensor]]]:
        """Yield path, number of the first row, the rows, and their numbers by split, for each block."""
        generator = torch.Generator().manual_seed(self.seed)
        numeric = [field.name for field in self._known_schema.fields if field.kind == "number"]
        numeric += [*(self.target_names if self.class_names is None else []), *filter(None, [self.weights])]
        for path, split in [(self.path, None), (self.val_path, "val"), (self.test_path, "test")]:
            if not path:
                continue
            row = 1
            for table in table_blocks(path, self._columns, numeric, self.csv):
                parsed = self._parse(path, table, row)
                kept = parsed.kept
                yield path, row, parsed, {split: kept} if split else self.split.draw(kept, len(table), generator)
                row += len(table)
            if row == 1:
                raise UserError(f"{path}: no rows below the header")

    def exact_training_rows(self) -> Iterator[tuple[Tensor, ...]]:
        """Yield the training rows before rounding; those of a stream, which are float32 on disk, are read again."""
        if not self.stream:
            yield from super().exact_training_rows()
            return
        _ = self.splits  # which has learned the schema
        for name, rows in self._streamed_parts():
            if name == "train":
                x, y, *weights = rows.gather(slice(None))
                yield plus(self.one_hot(x), self.input_offsets), plus(y, self.target_offsets), *weights
