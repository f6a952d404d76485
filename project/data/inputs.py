"""Names and kinds of the inputs of a data module."""

from abc import abstractmethod
from typing import Any

from torch import Tensor

from project.data.numbers import check_float32
from project.data.statistics import Statistics
from project.data.table import column_names, read_numbers, require_columns
from project.nets.one_hot import one_hot
from project.schema import Schema


class NamedInputs:
    """The part of a data module that describes x, the inputs of its rows.

    Attributes:
        feature_names: One name for each column of x, or for each field of the schema.
        window: Number of time steps if a row is a window of a series, otherwise 0.
        schema: The fields of a table; None if the columns of x are the features themselves.
    """

    feature_names: list[str]
    window: int = 0
    schema: Schema | None = None

    @property
    @abstractmethod
    def splits(self) -> Any:
        """The rows, which are loaded on the first use."""

    @property
    @abstractmethod
    def in_shape(self) -> tuple[int, ...]:
        """Shape of one row of x."""

    @property
    @abstractmethod
    def feature_statistics(self) -> Statistics:
        """Statistics of the inputs in the training rows."""

    @property
    def input_names(self) -> list[str]:
        """A name for each input of a linear model: `column_names`, with one name per level except the first."""
        _ = self.splits  # which may learn the schema
        return self.column_names if self.schema is None else self.schema.one_hot_names

    @property
    def levels(self) -> list[int] | None:
        """For each column of x, the number of levels of a category, or 0; None if there are no categories."""
        _ = self.splits  # which may learn the schema
        return self.schema.sizes if self.schema is not None and any(self.schema.sizes) else None

    @property
    def input_offsets(self) -> list[float] | None:
        """For each of `input_names`, what was subtracted so that float32 loses no digits; None if nothing was."""
        _ = self.splits  # which may learn the schema
        offsets = [] if self.schema is None else self.schema.one_hot_offsets
        return offsets if any(offsets) else None

    @property
    def fields(self) -> list[dict[str, Any]] | None:
        """The schema as plain data; None if there is none."""
        _ = self.splits  # which may learn the schema
        return None if self.schema is None else self.schema.to_list()

    @property
    def column_names(self) -> list[str]:
        """A name for each number of a flattened row; in a window, one name per feature and time step."""
        if self.schema is not None:
            return self.schema.names
        steps = range(self.window - 1, -1, -1)
        lagged = [f"{name}[t-{step}]" if step else f"{name}[t]" for step in steps for name in self.feature_names]
        return lagged or self.feature_names

    def one_hot(self, x: Tensor) -> Tensor:
        """One-hot encode the categories in x (n, *in_shape), like a network before its first layer."""
        module, _ = one_hot(self.in_shape, self.levels)
        if module is None:
            return x
        module.unknown = self.feature_statistics.mean.to(x.dtype)
        return module(x)

    def read_inputs(self, path: str) -> Tensor:
        """Read x of a table without targets, (rows, inputs)."""
        require_columns(path, self.feature_names, column_names(path), "the features")
        x = read_numbers(path, self.feature_names)
        check_float32(path, x, self.feature_names, fix_missing="fill it or drop the row")
        return x
