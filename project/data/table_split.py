"""Division of the rows of a table into splits: at random, stratified by class, by group, or by time."""

from collections.abc import Mapping
from typing import NamedTuple

import pyarrow as pa
import torch
from torch import Tensor

from project.data.columns import parse_fields
from project.data.split import check_fractions, group_split, random_split, stratified_split, time_split
from project.runtime.arrow import CellError
from project.runtime.errors import UserError
from project.schema import Field, Schema
from project.schema.category import Category
from project.schema.inference import IGNORED, infer_kind
from project.schema.schema import KINDS


class TableSplit(NamedTuple):
    """Settings for the division of rows into training, validation and test rows.

    Attributes:
        val_fraction: Fraction of the rows to validate on.
        test_fraction: Fraction of the rows to test on.
        seed: Seed of random splits.
        group: Name of a column; rows with equal values stay together. None for no groups.
        time: Name of a column; the latest rows are the test split. None for a random order.
    """

    val_fraction: float
    test_fraction: float
    seed: int
    group: str | None = None
    time: str | None = None

    @property
    def columns(self) -> dict[str, str]:
        """Names of the columns that decide where a row belongs, by flag."""
        named = {"--data.group": self.group, "--data.time": self.time}
        return {flag: name for flag, name in named.items() if name is not None}

    def check(self, stream: bool) -> None:
        """Raise a UserError if the settings contradict each other, or a stream cannot follow them."""
        check_fractions(self.val_fraction, self.test_fraction)
        if len(self.columns) > 1:
            raise UserError(f"{', '.join(self.columns)}: rows can be split by only one of them; remove the other")
        if stream and self.columns:
            raise UserError(f"{next(iter(self.columns))}: needs the rows in memory; remove it, or --data.stream")

    def rows(
        self, path: str, table: pa.Table, kept: Tensor, classes: Tensor | None, kinds: Mapping[str, str]
    ) -> list[Tensor]:
        """Return the row indices of each split.

        Args:
            path: Path of the table, for errors.
            table: The table.
            kept: Indices of the rows to divide.
            classes: Class indices of these rows; None for regression.
            kinds: Kinds of columns that are not inferred.

        Raises:
            UserError: If the column of groups or times has no values, or a time is missing.
        """
        fractions = self.val_fraction, self.test_fraction
        if self.group is not None:
            codes = _numbers(Category(self.group), path, table, kept)
            parts = group_split(codes.unique(return_inverse=True)[1], *fractions, self.seed)
        elif self.time is not None:
            times = _numbers(_kind(self.time, path, table, kinds)(self.time, "drop"), path, table, kept)
            if times.isnan().any():
                row = int(kept[times.isnan()][0]) + 1
                raise UserError(f"{path}: column {self.time!r}, row {row}: missing; --data.time needs it in every row")
            parts = time_split(times, *fractions)
        elif classes is not None:
            parts = stratified_split(classes, *fractions, self.seed)
        else:
            parts = random_split(len(kept), *fractions, self.seed)
        return [kept[part] for part in parts]

    def draw(self, kept: Tensor, rows: int, generator: torch.Generator) -> dict[str, Tensor]:
        """Assign each row of a block of a stream to a random split, and return the indices of the rows in `kept`."""
        draws = torch.rand(rows, generator=generator)[kept]
        val, test = draws < self.val_fraction, draws >= 1 - self.test_fraction
        return {"train": kept[~val & ~test], "val": kept[val], "test": kept[test]}


def _kind(name: str, path: str, table: pa.Table, kinds: Mapping[str, str]) -> type[Field]:
    """Return the kind of the time column, which may have the kind "ignore" as a feature."""
    chosen = kinds.get(name, IGNORED)
    try:
        return KINDS[infer_kind(table.column(name)) if chosen == IGNORED else chosen]
    except CellError as error:
        raise UserError(f"{path}: column {name!r} {error}; --data.time needs dates or numbers") from None


def _numbers(field: Field, path: str, table: pa.Table, kept: Tensor) -> Tensor:
    """Return the first number of a field, (rows,), for the rows `kept`."""
    schema = Schema([field])
    parsed = parse_fields(schema, path, table)
    schema.partial_fit(parsed, kept.numpy())
    if not field.count:
        raise UserError(f"{path}: column {field.name!r} has no values, so rows cannot be split by it")
    schema.finish()
    return torch.from_numpy(schema.encode(parsed))[kept, 0]
