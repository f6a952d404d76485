"""The fields of a row, in order."""

import math
from bisect import bisect
from collections.abc import Sequence
from itertools import accumulate
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from project.runtime.arrow import CellError
from project.schema.category import Category, unknown_levels
from project.schema.dates import Date
from project.schema.field import Field, Mask, Numbers
from project.schema.image import Image
from project.schema.quantities import Boolean, Number
from project.schema.spelling import without_values

# All kinds of fields. Add new ones here.
KINDS: dict[str, type[Field]] = {kind.kind: kind for kind in (Number, Boolean, Category, Date, Image)}


class FieldError(ValueError):
    """A value of a field is wrong.

    Attributes:
        field: Name of the field.
        problem: What is wrong.
        row: Index of the value; None if the whole column is wrong.
    """

    def __init__(self, field: str, problem: str, row: int | None = None) -> None:
        self.field, self.problem, self.row = field, problem, row
        super().__init__(f"{field}: {problem}")


class Schema:
    """The fields of a table, which encode its rows as inputs x of a network, (rows, width)."""

    def __init__(self, fields: Sequence[Field]) -> None:
        self.fields = list(fields)

    @property
    def field_names(self) -> list[str]:
        """Names of the columns of the table."""
        return [field.name for field in self.fields]

    @property
    def names(self) -> list[str]:
        """A name for each number of x."""
        return [name for field in self.fields for name in field.names]

    def field_of(self, number: int) -> str:
        """Return the name of the field to which a number of x belongs, given by its index."""
        ends = accumulate(field.width for field in self.fields)
        return self.fields[bisect([*ends], number)].name

    @property
    def width(self) -> int:
        """Number of inputs in a row of x."""
        return sum(field.width for field in self.fields)

    @property
    def sizes(self) -> list[int]:
        """For each number of x, its number of levels; 0 for quantities."""
        return [size for field in self.fields for size in field.sizes]

    @property
    def offsets(self) -> list[float]:
        """For each number of x, what `encode` subtracts from the value in the table."""
        return [offset for field in self.fields for offset in field.offsets]

    @property
    def one_hot_offsets(self) -> list[float]:
        """For each of `one_hot_names`, what `encode` subtracts from the value in the table."""
        return [
            offset
            for field in self.fields
            for offset in ([0.0] * (len(field.level_names) - 1) if field.level_names else field.offsets)
        ]

    @property
    def one_hot_names(self) -> list[str]:
        """The names of x after one-hot encoding: a category has one name for each level except the first."""
        return [name for field in self.fields for name in (field.level_names[1:] if field.level_names else field.names)]

    @property
    def is_plain(self) -> bool:
        """Whether x is the columns unchanged: numbers without offsets, indicators and spellings of missing values."""
        changed = any(self.offsets) or any(each.missing_values for each in self.fields)
        return not changed and all(type(each) is Number and not each.indicator for each in self.fields)

    def parse(self, table: pa.Table) -> list[Any]:
        """Convert the columns of the fields to the arrays that the other methods take; other columns are ignored.

        Raises:
            FieldError: If a value is not of the field's kind, with the field and the row of the first one.
        """
        parsed = []
        for field in self.fields:
            try:
                parsed.append(field.parse(without_values(table.column(field.name), field.missing_values)))
            except CellError as error:
                raise FieldError(field.name, str(error), error.row) from None
        return parsed

    def missing(self, parsed: list[Any]) -> Mask:
        """Return whether each value is missing, (rows, fields)."""
        return np.stack([field.missing_rows(part) for field, part in zip(self.fields, parsed, strict=True)], axis=1)

    def partial_fit(self, parsed: list[Any], rows: NDArray[np.int64]) -> None:
        """Update the statistics of all fields with some training rows, given by their indices."""
        for field, part in zip(self.fields, parsed, strict=True):
            field.partial_fit(part, rows)

    def finish(self) -> None:
        """Compute what `encode` needs from the statistics, after the last training row.

        Raises:
            FieldError: If a field has no values in the training rows.
        """
        for field in self.fields:
            if not field.count:
                raise FieldError(field.name, "has no values in the training rows")
            field.finish()

    def encode(self, parsed: list[Any]) -> Numbers:
        """Return x (rows, width)."""
        x = np.empty((self.width, len(parsed[0]))).T  # each column is contiguous, since fields write whole columns
        start = 0
        for field, part in zip(self.fields, parsed, strict=True):
            stop = start + field.width
            x[:, start:stop] = field.encode(part)
            start = stop
        return x

    def decode(self, x: Numbers) -> list[dict[str, Any]]:
        """Return rows, dicts from field to JSON value, that `encode` converts to x (rows, width)."""
        columns, start = [], 0
        for field in self.fields:
            stop = start + field.width
            columns.append(field.decode(x[:, start:stop]))
            start = stop
        return [dict(zip(self.field_names, row, strict=True)) for row in zip(*columns, strict=True)]

    @property
    def coding(self) -> list[tuple[str, str, list[str]]]:
        """Name, kind and levels (or names and offsets) of each field: the meaning of x, without how gaps are filled."""
        return [
            (field.name, field.kind, field.level_names or [*field.names, *map(str, filter(None, field.offsets))])
            for field in self.fields
        ]

    @property
    def fills(self) -> list[float]:
        """For each field of a plain schema, the number that replaces missing values; NaN if they are not replaced."""
        return [field.fill[0] if field.fill else math.nan for field in self.fields]

    @property
    def examples(self) -> dict[str, Any]:
        """A typical JSON value of each field."""
        return {field.name: field.example for field in self.fields}

    def unknown(self, x: NDArray[Any]) -> dict[str, int]:
        """Return the number of rows of x with an unknown level, for each field that has any."""
        counts = {
            name: unknown_levels(x[:, index])
            for index, (name, size) in enumerate(zip(self.names, self.sizes, strict=True))
            if size
        }
        return {name: count for name, count in counts.items() if count}

    def to_list(self) -> list[dict[str, Any]]:
        """Return the fields as plain data."""
        described = []
        for field in self.fields:
            gaps = {"missing_values": field.missing_values} if field.missing_values else {}
            described.append({"name": field.name, "kind": field.kind, **gaps, **field.settings()})
        return described

    @classmethod
    def from_list(cls, fields: Sequence[dict[str, Any]]) -> "Schema":
        """Return the schema from what `to_list` returned.

        Raises:
            ValueError, KeyError, TypeError: If the data are invalid.
        """
        built = []
        for settings in fields:
            field = KINDS[settings["kind"]](str(settings["name"]))
            field.restore(settings)
            field.missing_values = settings.get("missing_values", [])
            valid = type(field.missing_values) is list and all(type(text) is str for text in field.missing_values)
            field.require(valid, f"invalid missing values {field.missing_values!r:.80}")
            built.append(field)
        return cls(built)
