"""Base class of all fields: a field encodes one column of a table as inputs of a network."""

from abc import ABC, abstractmethod
from typing import Any, ClassVar, Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

Numbers = NDArray[np.float64]
Mask = NDArray[np.bool_]
# Treatment of missing values. "fill": the training mean and an indicator column (a category gets a level of its own);
# "mean" and "median": without the indicator; "drop": rows with one are left out; "error": they are not allowed.
Missing = Literal["fill", "mean", "median", "drop", "error"]


class Field(ABC):
    """One column of a table. Call `partial_fit` on blocks of training rows, then `finish`, then `encode`.

    Args:
        name: Name of the column.
        missing: Treatment of missing values.

    Attributes:
        kind: Name of this kind in `--data.kinds`.
        gaps: Number of missing values that `partial_fit` has seen.
        count: Number of other values that `partial_fit` has seen.
        fill: The numbers that replace a missing value; None if missing values stay NaN.
        missing_values: Spellings that mean a missing value in this column, in addition to the usual ones such as "NA".
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
        """Number of inputs of a network. An image has more of them than `names`."""
        return len(self.names)

    @property
    def sizes(self) -> list[int]:
        """For each number, its number of levels (codes range from 0 to it); 0 for quantities."""
        return [0] * len(self.names)

    @property
    def offsets(self) -> list[float]:
        """For each number, what `encode` subtracts from the value in the table."""
        return [0.0] * len(self.names)

    @property
    def level_names(self) -> list[str]:
        """A name for each level of a category; empty for other fields."""
        return []

    @property
    @abstractmethod
    def example(self) -> Any:
        """A typical value that JSON can represent."""

    @property
    @abstractmethod
    def summary(self) -> str:
        """A description of the values in a few words."""

    @abstractmethod
    def parse(self, column: pa.ChunkedArray) -> Any:
        """Convert a column to the array that the other methods take, with one item for each row.

        Raises:
            CellError: If a value is not of this kind, with the row of the first one.
        """

    @abstractmethod
    def missing_rows(self, parsed: Any) -> Mask:
        """Return whether the value of each row is missing, (rows,)."""

    @abstractmethod
    def partial_fit(self, parsed: Any, rows: NDArray[np.int64]) -> None:
        """Update the statistics with some training rows, given by their indices."""

    @abstractmethod
    def finish(self) -> None:
        """Compute what `encode` needs from the statistics, after the last training row."""

    @abstractmethod
    def encode(self, parsed: Any) -> Numbers:
        """Return the numbers (rows, width); NaN for missing values if `fill` is None."""

    @abstractmethod
    def decode(self, numbers: Numbers) -> list[Any]:
        """Return JSON values that `encode` converts to these numbers (rows, width); None for missing values."""

    @abstractmethod
    def settings(self) -> dict[str, Any]:
        """Return what was learned, as plain data, for `restore`."""

    @abstractmethod
    def restore(self, settings: dict[str, Any]) -> None:
        """Set what `settings` returned.

        Raises:
            ValueError, KeyError, TypeError: If the settings are invalid.
        """

    def require(self, valid: bool, problem: str) -> None:
        """Raise a ValueError that names the field and the problem unless its settings are valid."""
        if not valid:
            raise ValueError(f"field {self.name!r}: {problem}")
