"""A field of a row: one column of a table, and the numbers that a network gets for it."""

from abc import ABC, abstractmethod
from typing import Any, ClassVar, Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

Numbers = NDArray[np.float64]
Mask = NDArray[np.bool_]
# What becomes of a missing value: the training mean with an indicator (or a level of its own), the mean or the median
# alone, the row is left out, or an error.
Missing = Literal["fill", "mean", "median", "drop", "error"]


class Field(ABC):
    """One column of a table. `partial_fit` sees training rows, then `finish` fixes what is learned from them.

    Args:
        name: Name of the column.
        missing: What becomes of missing values.

    Attributes:
        kind: The word for this kind in `--data.kinds`.
        gaps: Number of missing values that `partial_fit` has seen.
        count: Number of other values that it has seen.
        fill: What replaces the numbers of a missing value; None if nothing does.
        missing_values: Spellings of values that count as missing, besides those that do in any table.
    """

    kind: ClassVar[str]

    def __init__(self, name: str, missing: Missing = "fill") -> None:
        self.name, self.missing, self.gaps, self.count = name, missing, 0, 0
        self.fill: list[float] | None = None
        self.missing_values: list[str] = []

    @property
    @abstractmethod
    def names(self) -> list[str]:
        """A name for each number that a network gets."""

    @property
    def width(self) -> int:
        """How many numbers a network gets; more than `names` for an image."""
        return len(self.names)

    @property
    def sizes(self) -> list[int]:
        """For each number, how many levels it may have: 0 for a quantity, otherwise it is a code from 0 to the size."""
        return [0] * len(self.names)

    @property
    def offsets(self) -> list[float]:
        """For each number, what was subtracted from the value in the table."""
        return [0.0] * len(self.names)

    @property
    def level_names(self) -> list[str]:
        """A name for each level of a category; empty for other fields."""
        return []

    @property
    @abstractmethod
    def example(self) -> Any:
        """A typical value, as JSON has it."""

    @property
    @abstractmethod
    def summary(self) -> str:
        """What the values are, in a few words."""

    @abstractmethod
    def parse(self, column: pa.ChunkedArray) -> Any:
        """Return the values in one form, an array with an item for each row, for the other methods.

        Raises:
            CellError: With the row of the first value that is not of this kind.
        """

    @abstractmethod
    def missing_rows(self, parsed: Any) -> Mask:
        """Return in which rows the value is missing, (rows,)."""

    @abstractmethod
    def partial_fit(self, parsed: Any, rows: NDArray[np.int64]) -> None:
        """Learn from some training rows."""

    @abstractmethod
    def finish(self) -> None:
        """Fix what was learned, after the last training row."""

    @abstractmethod
    def encode(self, parsed: Any) -> Numbers:
        """Return the numbers (rows, names); NaN for a missing value that nothing replaces."""

    @abstractmethod
    def decode(self, numbers: Numbers) -> list[Any]:
        """Return values, as JSON has them, of which `encode` makes the numbers (rows, names); None for a gap."""

    @abstractmethod
    def settings(self) -> dict[str, Any]:
        """Return what was learned, as plain data, for `restore`."""

    @abstractmethod
    def restore(self, settings: dict[str, Any]) -> None:
        """Take what `settings` returned; raise a ValueError if it is something else."""
