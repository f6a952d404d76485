"""A field of categories."""

import math
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from project.runtime.arrow import is_number
from project.schema.field import Field, Mask, Missing, Numbers
from project.schema.spelling import as_text

SHOWN_LEVELS = 4
UNKNOWN = 0  # code of a level that did not occur in training


class Category(Field):
    """A column of categories. Its levels have the codes 1, 2, …; code 0 is a level that did not occur in training.

    Attributes:
        levels: The spellings, sorted. The first one is the reference level of a linear model.
        gap_level: Whether missing values have a level of their own, the last one.
        marks_gaps: Whether missing values are encoded as NaN. If neither is set, they are an unknown level.
    """

    kind = "category"

    def __init__(self, name: str, missing: Missing = "fill") -> None:
        super().__init__(name, missing)
        self.levels: list[str] = []
        self.gap_level = self.marks_gaps = False
        self._seen: set[str | None] = set()

    @property
    def names(self) -> list[str]:
        """The name of the column."""
        return [self.name]

    @property
    def sizes(self) -> list[int]:
        """The number of levels."""
        return [len(self.levels) + self.gap_level]

    @property
    def level_names(self) -> list[str]:
        """`NAME[LEVEL]` for each level."""
        gap = "missing" if "missing" not in self.levels else "(missing)"
        return [f"{self.name}[{level}]" for level in self.levels + [gap] * self.gap_level]

    @property
    def example(self) -> Any:
        """The first level."""
        return self.levels[0] if self.levels else None

    @property
    def summary(self) -> str:
        """The first levels."""
        return ", ".join(self.levels[:SHOWN_LEVELS]) + ", …" * (len(self.levels) > SHOWN_LEVELS)

    def parse(self, column: pa.ChunkedArray) -> pa.ChunkedArray:
        """Return the values as text, null where one is missing."""
        return as_text(column)

    def missing_rows(self, parsed: pa.ChunkedArray) -> Mask:
        """Return whether the value of each row is missing, (rows,)."""
        return parsed.is_null().combine_chunks().to_numpy(zero_copy_only=False)

    def partial_fit(self, parsed: pa.ChunkedArray, rows: NDArray[np.int64]) -> None:
        """Collect the levels of some training rows."""
        text = parsed.take(pa.array(rows))
        self.gaps += text.null_count
        self.count += len(text) - text.null_count
        self._seen.update(pc.unique(text).to_pylist())

    def finish(self) -> None:
        """Sort the levels."""
        self.levels = sorted_levels(self._seen)
        self.marks_gaps = self.missing in ("error", "drop")
        self.gap_level = not self.marks_gaps and self.gaps > 0
        self._seen.clear()

    def encode(self, parsed: pa.ChunkedArray) -> Numbers:
        """Return the codes (rows, 1)."""
        codes = pc.add(pc.index_in(parsed, pa.array(self.levels, pa.string())), 1).fill_null(UNKNOWN)
        gap = math.nan if self.marks_gaps else len(self.levels) + 1 if self.gap_level else UNKNOWN
        numbers = pc.if_else(pc.is_valid(parsed), codes.cast(pa.float64()), pa.scalar(float(gap)))
        return numbers.combine_chunks().to_numpy(zero_copy_only=False)[:, None]

    def decode(self, numbers: Numbers) -> list[Any]:
        """Return the levels of codes (rows, 1): None for a missing value, "(unknown)" for an unknown level."""
        other = "(unknown)"
        while other in self.levels:  # it must not be the name of a level
            other += "?"
        values: list[Any] = [other, *self.levels, None]
        return [None if math.isnan(code) else values[int(code)] for code in numbers[:, 0].tolist()]

    def settings(self) -> dict[str, Any]:
        """Return the levels and how missing values are encoded."""
        return {"levels": self.levels, "gap_level": self.gap_level, "marks_gaps": self.marks_gaps}

    def restore(self, settings: dict[str, Any]) -> None:
        """Set the levels and how missing values are encoded."""
        levels, flags = settings["levels"], (settings["gap_level"], settings["marks_gaps"])
        texts = type(levels) is list and all(type(level) is str for level in levels)
        valid = texts and len(set(levels)) == len(levels) and all(type(flag) is bool for flag in flags)
        self.require(valid, f"invalid levels {levels!r:.80}")
        self.levels, (self.gap_level, self.marks_gaps) = levels, flags


def sorted_levels(levels: set[str | None]) -> list[str]:
    """Sort the levels that are not None: by value if all are numbers, otherwise as text."""
    names = {level for level in levels if level is not None}
    numeric = all(map(is_number, names))
    return sorted(names, key=lambda name: (float(name) if numeric else 0, name))


def unknown_levels(codes: NDArray[Any]) -> int:
    """Return how many codes are those of unknown levels."""
    return int(np.count_nonzero(codes == UNKNOWN))
