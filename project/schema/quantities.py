"""Fields whose values are quantities: numbers, booleans as 0 and 1, and dates as their parts."""

import math
from abc import abstractmethod
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from project.runtime.arrow import CellError, as_float64
from project.schema.field import Field, Mask, Missing, Numbers
from project.schema.spelling import as_booleans, as_text, is_text


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
        valid = parts[~self.missing_rows(parts)]
        self.gaps += len(parts) - len(valid)
        self.count += len(valid)
        if self.missing == "median":
            self._parts.append(valid)
        self._sum = self._sum + valid.sum(axis=0)

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
    """A column of numbers."""

    kind = "number"

    @property
    def part_names(self) -> list[str]:
        """The name of the column."""
        return [self.name]

    def parse(self, column: pa.ChunkedArray) -> Numbers:
        """Return the numbers (rows, 1)."""
        values = as_float64(column).fill_null(math.nan)
        return values.combine_chunks().to_numpy(zero_copy_only=False)[:, None]


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

    def parse(self, column: pa.ChunkedArray) -> Numbers:
        """Return 0, 1 or NaN (rows, 1)."""
        values = as_booleans(column).cast(pa.float64()).fill_null(math.nan)
        return values.combine_chunks().to_numpy(zero_copy_only=False)[:, None]


class Date(Quantity):
    """A column of dates or times: the days since 2000, and the parts in which a calendar repeats itself."""

    kind = "date"
    PARTS = ("days", "month", "day", "weekday", "hour")

    def __init__(self, name: str, missing: Missing = "fill") -> None:
        super().__init__(name, missing)
        self.has_hours = False

    @property
    def part_names(self) -> list[str]:
        """`NAME[days]`, with fractions, `NAME[month]`, `NAME[day]`, `NAME[weekday]` from Monday as 0, `NAME[hour]`."""
        return [f"{self.name}[{part}]" for part in self.PARTS]

    @property
    def names(self) -> list[str]:
        """A name for each number; without the hour if the dates of all training rows are days."""
        names = super().names
        return names if self.has_hours else names[:4] + names[5:]

    def partial_fit(self, parsed: Numbers, rows: NDArray[np.int64]) -> None:
        """Add up the parts of some training rows."""
        super().partial_fit(parsed, rows)
        self.has_hours |= bool((parsed[rows, 0] % 1 > 0).any())

    def encode(self, parsed: Numbers) -> Numbers:
        """Return the numbers (rows, names)."""
        numbers = super().encode(parsed)
        return numbers if self.has_hours else np.delete(numbers, 4, axis=1)

    def settings(self) -> dict[str, Any]:
        """Return what replaces a missing value, and whether there are hours."""
        return super().settings() | {"has_hours": self.has_hours}

    def restore(self, settings: dict[str, Any]) -> None:
        """Take what replaces a missing value, and whether there are hours."""
        super().restore(settings)
        self.has_hours = bool(settings["has_hours"])

    @property
    def example(self) -> Any:
        """The mean of the training rows, to the day."""
        days = int((self.mean or [0.0])[0])
        return str(np.datetime64("2000-01-01") + np.timedelta64(days, "D"))

    def parse(self, column: pa.ChunkedArray) -> Numbers:
        """Return the parts (rows, 5)."""
        times = as_times(column)
        days = pc.subtract(times, pa.scalar(EPOCH_2000, times.type)).cast(pa.int64())
        columns = [pc.divide(days.cast(pa.float64()), MICROSECONDS_A_DAY), pc.month(times), pc.day(times)]
        columns += [pc.day_of_week(times), pc.hour(times)]
        arrays = [part.cast(pa.float64()).fill_null(math.nan).combine_chunks() for part in columns]
        return np.stack([part.to_numpy(zero_copy_only=False) for part in arrays], axis=1)


EPOCH_2000 = np.datetime64("2000-01-01", "us").astype(object)
MICROSECONDS_A_DAY = 86_400_000_000.0


def as_times(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Convert dates, timestamps or ISO 8601 text to timestamps without a time zone, in UTC; null where missing.

    Raises:
        CellError: With the row of the first text that is not a date, or for a column of another type.
    """
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if is_text(column.type):
        column = as_text(column)
    try:
        return column.cast(pa.timestamp("us"), safe=False)
    except pa.ArrowInvalid:
        row = next(row for row, value in enumerate(column) if not _is_time(value))
        raise CellError(f"{column[row].as_py()!r} is not a date such as 2024-12-31 or 2024-12-31 18:00", row) from None
    except pa.ArrowNotImplementedError:
        raise CellError(f"is {column.type}, not a date") from None


def _is_time(value: pa.Scalar) -> bool:
    try:
        value.cast(pa.timestamp("us"))
    except pa.ArrowInvalid:
        return False
    return True
