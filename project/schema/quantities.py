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
    """A field of one or more numbers. A gap becomes their training means, or medians, and 1 in an indicator.

    Attributes:
        mean: Means of the numbers over the training rows.
        indicator: Whether a number that is 1 for a missing value and 0 otherwise follows the others.
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
        """Return the numbers (rows, part_names), NaN for missing values; raise a CellError for others."""

    def missing_rows(self, parsed: Numbers) -> Mask:
        """Return in which rows the value is missing, (rows,)."""
        return np.isnan(parsed[:, 0])

    @property
    def names(self) -> list[str]:
        """A name for each number: the parts, and `NAME[missing]`."""
        return self.part_names + [f"{self.name}[missing]"] * self.indicator

    @property
    def example(self) -> Any:
        """The value that replaces a gap."""
        return float(f"{(self.mean or [0.0])[0]:.4g}")

    @property
    def summary(self) -> str:
        """The mean."""
        return f"mean {self.example}"

    def partial_fit(self, parsed: Numbers, rows: NDArray[np.int64]) -> None:
        """Add up the numbers of some training rows."""
        parts = parsed[rows]
        missing = self.missing_rows(parts)
        valid = parts[~missing] if missing.any() else parts
        self.gaps += len(parts) - len(valid)
        self.count += len(valid)
        if self.missing == "median":
            self._parts.append(valid)
        self._sum = self._sum + valid.sum(axis=0)
        self.see(valid)

    def see(self, valid: Numbers) -> None:
        """Learn more from the numbers of some training rows, without missing ones."""

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
        """Return values, as JSON has them, of which `encode` makes the numbers (rows, names); None for a gap."""
        gaps = np.isnan(numbers[:, 0]) | ((numbers[:, -1] == 1) if self.indicator else False)
        return [None if gap else self.value(row) for gap, row in zip(gaps, numbers.tolist(), strict=True)]

    def value(self, parts: list[float]) -> Any:
        """Return the value of a row, which is not missing, as JSON has it."""
        return parts[0]

    def settings(self) -> dict[str, Any]:
        """Return the means, and what replaces a missing value."""
        return {"mean": self.mean, "fill": self.fill, "indicator": self.indicator}

    def restore(self, settings: dict[str, Any]) -> None:
        """Take the means, and what replaces a missing value."""
        self.mean, self.fill = self._numbers(settings["mean"]), self._numbers(settings["fill"])
        self.indicator = settings["indicator"]
        if self.mean is None or type(self.indicator) is not bool:
            raise ValueError(f"field {self.name!r}: no mean, or an invalid indicator")

    def _numbers(self, values: Any) -> list[float] | None:
        """Return one finite number for each part, or None; raise a ValueError for anything else."""
        if values is None:
            return None
        is_list = type(values) is list and len(values) == len(self.part_names)
        if not is_list or not all(type(value) in (int, float) and math.isfinite(value) for value in values):
            raise ValueError(f"field {self.name!r}: invalid numbers {values!r:.80}")
        return list(values)


class Number(Quantity):
    """A column of numbers.

    Attributes:
        offset: What is subtracted from the numbers because float32 would lose digits of them; 0 for most columns.
    """

    kind = "number"

    def __init__(self, name: str, missing: Missing = "fill") -> None:
        super().__init__(name, missing)
        self.offset, self._offset = 0.0, Offset()

    def see(self, valid: Numbers) -> None:
        """See how far from zero the numbers are."""
        self._offset.partial_fit(valid[:, 0])

    def finish(self) -> None:
        """Choose what replaces a missing value, and the offset."""
        super().finish()
        self.offset = self._offset.value

    @property
    def offsets(self) -> list[float]:
        """What is subtracted from each number, (names,)."""
        return [self.offset, *[0.0] * self.indicator]

    def encode(self, parsed: Numbers) -> Numbers:
        """Return the numbers (rows, names)."""
        numbers = super().encode(parsed)
        return numbers - self.offsets if self.offset else numbers

    def decode(self, numbers: Numbers) -> list[Any]:
        """Return values of which `encode` makes the numbers (rows, names); None for a gap."""
        return super().decode(numbers + self.offsets)

    def settings(self) -> dict[str, Any]:
        """Return the means, what replaces a missing value, and the offset if there is one."""
        return super().settings() | ({"offset": self.offset} if self.offset else {})

    def restore(self, settings: dict[str, Any]) -> None:
        """Take what `settings` returned."""
        super().restore(settings)
        [self.offset] = self._numbers([settings.get("offset", 0.0)]) or [0.0]

    @property
    def part_names(self) -> list[str]:
        """The name of the column."""
        return [self.name]

    def parse(self, column: pa.ChunkedArray) -> Numbers:
        """Return the numbers (rows, 1)."""
        values = as_float64(column)
        return (values.fill_null(math.nan) if values.null_count else values).to_numpy()[:, None]


class Boolean(Quantity):
    """A column of booleans in any spelling, as 0 and 1."""

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
        """How many are true."""
        return f"{100 * (self.mean or [0.0])[0]:.0f} % true"

    def value(self, parts: list[float]) -> Any:
        """Return true or false."""
        return parts[0] >= 0.5

    def parse(self, column: pa.ChunkedArray) -> Numbers:
        """Return 0, 1 or NaN (rows, 1)."""
        values = as_booleans(column).cast(pa.float64()).fill_null(math.nan)
        return values.combine_chunks().to_numpy(zero_copy_only=False)[:, None]
