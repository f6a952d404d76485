"""Fields of dates and times, encoded as the days since 2000 and as parts of the calendar."""

import math
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from project.runtime.arrow import CellError
from project.schema.field import Missing, Numbers
from project.schema.quantities import Quantity
from project.schema.spelling import as_text, is_text

EPOCH_2000 = np.datetime64("2000-01-01", "us").astype(object)
SECONDS_A_DAY = 86_400
MICROSECONDS_A_DAY = 1e6 * SECONDS_A_DAY
ISO = "ISO 8601"
# Formats of dates in text columns; "" means that the format has not been found yet.
FORMATS = ("", ISO, "%Y/%m/%d", "%m/%d/%Y", "%d/%m/%Y", "%d.%m.%Y", "%b %d %Y", "%d %b %Y", "%B %d, %Y", "%Y%m%d")


class Date(Quantity):
    """A column of dates or times, encoded as the days since 2000, month, day, weekday and hour.

    Attributes:
        has_hours: Whether a training row has a time of day; only then is the hour encoded.
        format: One of `FORMATS`.
    """

    kind = "date"
    PARTS = ("days", "month", "day", "weekday", "hour")

    def __init__(self, name: str, missing: Missing = "fill") -> None:
        super().__init__(name, missing)
        self.has_hours, self.format = False, ""

    @property
    def part_names(self) -> list[str]:
        """`NAME[days]` with fractions, `NAME[month]`, `NAME[day]`, `NAME[weekday]` with Monday 0, `NAME[hour]`."""
        return [f"{self.name}[{part}]" for part in self.PARTS]

    @property
    def names(self) -> list[str]:
        """A name for each number, without the hour if no training row has a time of day."""
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
        """Return the means, what replaces a missing value, whether there are hours, and the format."""
        return super().settings() | {"has_hours": self.has_hours, "format": self.format}

    def restore(self, settings: dict[str, Any]) -> None:
        """Set what `settings` returned."""
        super().restore(settings)
        self.has_hours, self.format = bool(settings["has_hours"]), settings["format"]
        self.require(self.format in FORMATS, f"unknown format {self.format!r:.80}")

    @property
    def example(self) -> Any:
        """The mean of the training rows, to the day."""
        days = int((self.mean or [0.0])[0])
        return str(np.datetime64("2000-01-01") + np.timedelta64(days, "D"))

    def value(self, parts: list[float]) -> Any:
        """Return the date and time in ISO 8601, rounded to seconds. Only the first part, the days, is used."""
        return (datetime(2000, 1, 1) + timedelta(seconds=round(parts[0] * SECONDS_A_DAY))).isoformat()

    def parse(self, column: pa.ChunkedArray) -> Numbers:
        """Return the parts (rows, 5)."""
        times, self.format = as_times(column, self.format)
        days = pc.subtract(times, pa.scalar(EPOCH_2000, times.type)).cast(pa.int64())
        columns = [pc.divide(days.cast(pa.float64()), MICROSECONDS_A_DAY), pc.month(times), pc.day(times)]
        columns += [pc.day_of_week(times), pc.hour(times)]
        arrays = [part.cast(pa.float64()).fill_null(math.nan).combine_chunks() for part in columns]
        return np.stack([part.to_numpy(zero_copy_only=False) for part in arrays], axis=1)


def as_times(column: pa.ChunkedArray, format: str = "") -> tuple[pa.ChunkedArray, str]:
    """Convert dates, timestamps or text to timestamps in UTC without a time zone; missing values become null.

    Args:
        column: The column.
        format: One of `FORMATS`, for text; by default the one that `find_format` finds.

    Returns:
        The timestamps, and the format.

    Raises:
        CellError: If a text is not a date (with its row), or the type of the column cannot be converted.
    """
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if not is_text(column.type):
        try:
            return column.cast(pa.timestamp("us"), safe=False), format
        except pa.ArrowNotImplementedError:
            raise CellError(f"is {column.type}, not a date") from None
    text = as_text(column)
    format = format or find_format(text)
    times = parse_dates(text, format)
    wrong = pc.and_(pc.is_null(times), pc.is_valid(text))
    if pc.any(wrong).as_py():
        row = pc.index(wrong, True).as_py()
        raise CellError(f"{text[row].as_py()!r} is not a date such as 2024-12-31", row)
    return times, format


def find_format(text: pa.ChunkedArray) -> str:
    """Return the format that fits the most values; ISO 8601 if no format fits any value.

    Raises:
        CellError: If all dates fit both the American and the British order of day and month.
    """
    distinct = pa.chunked_array([pc.unique(text.drop_null())])
    fits = {format: len(distinct) - parse_dates(distinct, format).null_count for format in FORMATS[1:]}
    best = max(fits, key=lambda format: fits[format])
    if fits["%m/%d/%Y"] == fits["%d/%m/%Y"] == fits[best] > 0:
        raise CellError("has dates whose month may be the first or the second number; write them as 2024-12-31")
    return best


def parse_dates(text: pa.ChunkedArray, format: str) -> pa.ChunkedArray:
    """Convert text to timestamps; text of another format becomes null."""
    if format != ISO:
        return pc.strptime(text, format=format, unit="us", error_is_null=True)
    try:
        return text.cast(pa.timestamp("us"))
    except pa.ArrowInvalid:  # a cast of the whole column has no option to return null for errors
        values = [_iso(value) for value in text]
        return pa.chunked_array([pa.array(values, pa.timestamp("us"))])


def _iso(value: pa.Scalar) -> Any:
    try:
        return value.cast(pa.timestamp("us")).as_py()
    except pa.ArrowInvalid:
        return None
