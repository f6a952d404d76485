"""Fields whose values are quantities: numbers, and booleans as 0 and 1."""

import math
from abc import abstractmethod
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from project.runtime.arrow import as_float64
from project.schema.field import Field, Mask, Missing, Numbers
from project.schema.offset import Offset
from project.schema.spelling import as_booleans


class Quantity(Field):
    """A field that is encoded as one or more numbers.

    Attributes:
        mean: Means of the numbers over the training rows.
        indicator: Whether another number follows: 1 for a missing value, otherwise 0.
    """

    def __init__(self, name: str, missing: Missing = "fill") -> None:
        super().__init__(name, missing)
        self.mean: list[float] | None = None
        self.indicator = False
        self._sum, self._parts = np.zeros(len(self.part_names)), list[Numbers]()

    @property
    @abstractmethod
    def part_names(self) -> list[str]:
        """Names of the numbers, without the indicator."""

    @abstractmethod
    def parse(self, column: pa.ChunkedArray) -> Numbers:
        """Return the numbers (rows, parts), NaN for missing values.

        Raises:
            CellError: If a value is not of this kind, with the row of the first one.
        """

    def missing_rows(self, parsed: Numbers) -> Mask:
        """Return whether the value of each row is missing, (rows,)."""
        return np.isnan(parsed[:, 0])

    @property
    def names(self) -> list[str]:
        """A name for each number: the parts, and `NAME[missing]`."""
        return self.part_names + [f"{self.name}[missing]"] * self.indicator

    @property
    def example(self) -> Any:
        """The training mean, rounded."""
        return float(f"{(self.mean or [0.0])[0]:.4g}")

    @property
    def summary(self) -> str:
        """The mean."""
        return f"mean {self.example}"

    def partial_fit(self, parsed: Numbers, rows: NDArray[np.int64]) -> None:
        """Update the sums, and the values for the median, with some training rows."""
        parts = parsed[rows]
        missing = self.missing_rows(parts)
        valid = parts[~missing] if missing.any() else parts
        self.gaps += len(parts) - len(valid)
        self.count += len(valid)
        if self.missing == "median":
            self._parts.append(valid)
        self._sum = self._sum + valid.sum(axis=0)
        self.update(valid)

    def update(self, valid: Numbers) -> None:
        """Update the statistics of a subclass with the valid numbers (rows, parts) of some training rows."""

    def finish(self) -> None:
        """Choose what replaces a missing value."""
        self.mean = (self._sum / max(self.count, 1)).tolist()
        if self.missing in ("error", "drop"):
            self.fill = None
        elif self.missing == "median":
            self.fill = np.median(np.concatenate(self._parts), axis=0).tolist()
        else:
            self.fill = self.mean
        self.indicator = self.missing == "fill" and self.gaps > 0
        self._parts.clear()

    def encode(self, parsed: Numbers) -> Numbers:
        """Return the numbers (rows, names)."""
        missing = self.missing_rows(parsed)[:, None]
        if self.fill is not None and missing.any():
            parsed = np.where(missing, self.fill, parsed)
        return np.concatenate([parsed, missing], axis=1) if self.indicator else parsed

    def decode(self, numbers: Numbers) -> list[Any]:
        """Return JSON values that `encode` converts to these numbers (rows, names); None for missing values."""
        gaps = np.isnan(numbers[:, 0]) | ((numbers[:, -1] == 1) if self.indicator else False)
        return [None if gap else self.value(row) for gap, row in zip(gaps, numbers.tolist(), strict=True)]

    def value(self, parts: list[float]) -> Any:
        """Return the JSON value of a row without a missing value, from its numbers."""
        return parts[0]

    def settings(self) -> dict[str, Any]:
        """Return the means, and what replaces a missing value."""
        return {"mean": self.mean, "fill": self.fill, "indicator": self.indicator}

    def restore(self, settings: dict[str, Any]) -> None:
        """Set the means, and what replaces a missing value."""
        self.mean, self.fill = self._check_numbers(settings["mean"]), self._check_numbers(settings["fill"])
        self.indicator = settings["indicator"]
        self.require(self.mean is not None and type(self.indicator) is bool, "no mean, or an invalid indicator")

    def _check_numbers(self, values: Any) -> list[float] | None:
        """Return `values` if they are None, or one finite number for each part; otherwise raise a ValueError."""
        if values is None:
            return None
        is_list = type(values) is list and len(values) == len(self.part_names)
        valid = is_list and all(type(value) in (int, float) and math.isfinite(value) for value in values)
        self.require(valid, f"invalid numbers {values!r:.80}")
        return list(values)


class Number(Quantity):
    """A column of numbers.

    Attributes:
        offset: What is subtracted from the numbers so that float32 loses none of their digits; 0 for most columns.
    """

    kind = "number"

    def __init__(self, name: str, missing: Missing = "fill") -> None:
        super().__init__(name, missing)
        self.offset, self._offset = 0.0, Offset()

    def update(self, valid: Numbers) -> None:
        """Update the range from which the offset is chosen."""
        self._offset.partial_fit(valid[:, 0])

    def finish(self) -> None:
        """Choose what replaces a missing value, and the offset."""
        super().finish()
        self.offset = self._offset.value

    @property
    def offsets(self) -> list[float]:
        """For each number, what `encode` subtracts from it, (names,)."""
        return [self.offset, *[0.0] * self.indicator]

    def encode(self, parsed: Numbers) -> Numbers:
        """Return the numbers (rows, names)."""
        numbers = super().encode(parsed)
        return numbers - self.offsets if self.offset else numbers

    def decode(self, numbers: Numbers) -> list[Any]:
        """Return values that `encode` converts to these numbers (rows, names); None for missing values."""
        return super().decode(numbers + self.offsets)

    def settings(self) -> dict[str, Any]:
        """Return the means, what replaces a missing value, and the offset if there is one."""
        return super().settings() | ({"offset": self.offset} if self.offset else {})

    def restore(self, settings: dict[str, Any]) -> None:
        """Set what `settings` returned."""
        super().restore(settings)
        [self.offset] = self._check_numbers([settings.get("offset", 0.0)]) or [0.0]

    @property
    def part_names(self) -> list[str]:
        """The name of the column."""
        return [self.name]

    def parse(self, column: pa.ChunkedArray) -> Numbers:
        """Return the numbers (rows, 1)."""
        values = as_float64(column)
        return (values.fill_null(math.nan) if values.null_count else values).to_numpy()[:, None]


class Boolean(Quantity):
    """A column of booleans in any usual spelling, encoded as 0 and 1."""

    kind = "boolean"

    @property
    def part_names(self) -> list[str]:
        """The name of the column."""
        return [self.name]

    @property
    def example(self) -> Any:
        """The more frequent value."""
        return (self.mean or [0.0])[0] >= 0.5

    @property
    def summary(self) -> str:
        """The share of true values."""
        return f"{100 * (self.mean or [0.0])[0]:.0f} % true"

    def value(self, parts: list[float]) -> Any:
        """Return true or false."""
        return parts[0] >= 0.5

    def parse(self, column: pa.ChunkedArray) -> Numbers:
        """Return 0, 1 or NaN (rows, 1)."""
        values = as_booleans(column).cast(pa.float64()).fill_null(math.nan)
        return values.combine_chunks().to_numpy(zero_copy_only=False)[:, None]
