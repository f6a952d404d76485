"""Base class of the data modules: sizes, statistics, the exact least squares fit, and loaders."""

import math
from abc import abstractmethod
from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor

from project.data.inputs import NamedInputs
from project.data.loader import Rows
from project.data.numbers import as_float32, check_float32, plus
from project.data.resumable_loaders import ResumableLoaders
from project.data.row_weights import mean_one
from project.data.sampling import is_labelled
from project.data.split import check_not_empty, fingerprint
from project.data.statistics import BLOCK_ROWS, Statistics, check_training_columns, one_hot_statistics, statistics
from project.least_squares import LeastSquaresFit, fit_within
from project.runtime.errors import UserError
from project.runtime.ranges import NonNegativeInt, PositiveInt


class Summary(NamedTuple):
    """Summary of the training rows.

    Attributes:
        x: Statistics of the inputs.
        y: Statistics of the targets; None for classes.
        fit: Exact least squares fit; None if it has not been computed.
    """

    x: Statistics
    y: Statistics | None
    fit: LeastSquaresFit | None = None


class Splits(NamedTuple):
    """Disjoint training, validation and test rows."""

    train: Rows
    val: Rows
    test: Rows


class RowsDataModule(NamedInputs, ResumableLoaders):
    """Rows of inputs and targets, in memory.

    To write your own data module, override `load` and set `feature_names` and `target_names`.

    Args:
        batch_size: Rows per batch and process.
        num_workers: Number of worker processes that load batches; 0 loads them in the training process, which is
            fastest for rows in memory.
        seed: Seed of generated rows, of splits and of the order of batches.

    Attributes:
        feature_names: One name for each column of x, or for each field of the schema.
        target_names: One name for each column of y.
        class_names: One name for each class if y has class indices, otherwise None.
        window: Number of time steps if a row is a window of a series, otherwise 0.
        source: Origin of the rows, for error messages.
        schema: The fields of a table; None if the columns of x are the features themselves.
        target_offsets: What `load` has subtracted from each target so that float32 loses no digits; None for nothing.
        summary: Summary of the training rows if `load` checks and summarises the rows itself, otherwise None.
        memory_hint: What the user can do if the rows do not fit into memory.
        default_epochs: Default number of epochs of a training.
        default_net: Class path of the default network; None for that of the model.
        default_optimizer: Class path and arguments of the default optimizer; None for that of the model.
    """

    target_names: list[str]
    class_names: list[str] | None = None
    source: str = "--data"
    target_offsets: list[float] | None = None
    summary: Summary | None = None
    default_epochs: int = 100
    default_net: str | None = None
    default_optimizer: Mapping[str, Any] | None = None
    memory_hint: str = "use fewer of them"

    def __init__(self, batch_size: PositiveInt = 32, num_workers: NonNegativeInt = 0, seed: NonNegativeInt = 0) -> None:
        super().__init__(batch_size, num_workers, seed)
        self._exact: Rows | None = None  # training rows in float64, as long as they are needed

    @classmethod
    def default_model(cls, arguments: Mapping[str, Any]) -> str:
        """Return the class path of the default model for the targets, from the arguments of the data module."""
        return "project.models.Regression"

    @abstractmethod
    def load(self) -> Splits:
        """Read or generate the rows: float32 or float64 in original units, or int64 class indices. Called once."""

    @cached_property
    def _loaded(self) -> tuple[Splits, Summary]:
        try:
            return self._load()
        except (RuntimeError, MemoryError) as error:  # torch raises a plain RuntimeError
            if isinstance(error, MemoryError) or "allocate memory" in str(error):
                raise UserError(f"{self.source}: its rows do not fit into memory; {self.memory_hint}") from error
            raise

    def _load(self) -> tuple[Splits, Summary]:
        splits = self.load()
        check_not_empty(self.source, [len(rows) for rows in splits])
        numbers, summary = self.class_names is None, self.summary
        if summary is None:
            for name, rows in splits._asdict().items() if self.schema is None else ():  # tables have been checked
                for values, names in ((rows.x, self.column_names), (rows.y, self.target_names)):
                    check_float32(f"{self.source}, {name} split", values, names, fix_missing="fill it or drop the row")
            if self.sampling.is_active:
                splits = Splits(*self.sampling.apply(splits, self.read_inputs, self.window))
            labelled = splits.train.y[is_labelled(splits.train.y)] if self.sampling.has_unlabelled else splits.train.y
            summary = Summary(statistics(splits.train.x), statistics(labelled) if numbers else None)
        elif self.sampling.is_active:
            raise UserError("--sampling: needs the rows in memory; remove --data.stream")
        if self.schema is not None and any(self.schema.sizes):
            summary = summary._replace(x=one_hot_statistics(summary.x, splits.train.x, self.schema.sizes))
        names = self.feature_names if self.schema is None else self.schema.one_hot_names
        check_training_columns(self.source, summary.x, names)
        if summary.y is not None:
            check_training_columns(self.source, summary.y, self.target_names)
        # Statistics and least squares are computed with full precision, but training uses float32.
        if numbers and summary.fit is None and torch.float64 in (splits.train.x.dtype, splits.train.y.dtype):
            self._exact = splits.train
        weights = mean_one(self.source, splits, self.sampling.has_unlabelled)
        kept = (
            Rows(as_float32(r.x), as_float32(r.y) if numbers else r.y, block_rows=r.block_rows, weights=each)
            for r, each in zip(splits, weights, strict=True)
        )
        return Splits(*kept), summary

    @property
    def splits(self) -> Splits:
        """The rows; numbers in float32."""
        return self._loaded[0]

    @property
    def feature_statistics(self) -> Statistics:
        """Statistics of x in the training split, computed before rounding to float32."""
        return self._loaded[1].x

    @property
    def row_counts(self) -> list[int]:
        """Number of training, validation and test rows."""
        return [len(rows) for rows in self.splits]

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of inputs, targets and weights of up to 1,000 evenly spaced rows of each split."""
        return fingerprint(self.splits)

    @property
    def feature_means(self) -> list[float]:
        """Mean of each column (or channel) of x in the training split."""
        return self.feature_statistics.mean.flatten().tolist()

    @property
    def target_statistics(self) -> Statistics | None:
        """Statistics of y in the training split, computed before rounding to float32; None for classes."""
        return self._loaded[1].y

    @cached_property
    def least_squares(self) -> LeastSquaresFit:
        """The exact least squares fit of the training split, computed before rounding to float32."""
        return cast(LeastSquaresFit, self._solve(math.inf))

    def least_squares_within(self, seconds: float) -> LeastSquaresFit | None:
        """Return `least_squares`; None if it is not known and would take more time, or more than 1 GiB of memory."""
        if "least_squares" not in self.__dict__ and (fit := self._solve(seconds)) is not None:
            self.least_squares = fit
        return self.__dict__.get("least_squares")

    def _solve(self, seconds: float) -> LeastSquaresFit | None:
        fit = self._loaded[1].fit
        if fit is None:
            fit = fit_within(seconds, self.exact_training_rows(), len(self.splits.train))
            self._exact = self._exact if fit is None else None
        return fit

    def exact_training_rows(self) -> Iterator[tuple[Tensor, ...]]:
        """Yield the labelled training rows before rounding to float32, with one-hot categories and without offsets.

        They come in blocks: x (n, *in_shape) or (n, inputs), y (n, out_features), and weights (n, 1) if there are any.
        """
        rows = self._exact or self.splits.train
        labelled = is_labelled(rows.y) if self.sampling.has_unlabelled else slice(None)
        parts = [part[labelled].split(BLOCK_ROWS) for part in (rows.x, rows.y, rows.weights) if part is not None]
        for x, y, *weights in zip(*parts, strict=True):
            yield plus(self.one_hot(x), self.input_offsets), plus(y, self.target_offsets), *weights

    def bias_change(self, weights: Tensor) -> Tensor:
        """Return by how much the bias in units of the table exceeds that of a linear model of x and y with offsets.

        Args:
            weights: Weights of the inputs, (inputs, out_features).

        Returns:
            Shape (out_features,), float64.
        """
        change = weights.new_zeros(weights.shape[1], dtype=torch.float64)
        if self.input_offsets is not None:
            change -= weights.new_tensor(self.input_offsets, dtype=torch.float64) @ weights.double()
        return plus(change, self.target_offsets)

    @property
    def in_shape(self) -> tuple[int, ...]:
        """Shape of one row of x."""
        return tuple(self.splits.train.first(1).shape[1:])

    @property
    def out_features(self) -> int:
        """Number of outputs of the network: classes, or columns of y."""
        return self.splits.train.y.shape[1] if self.class_names is None else len(self.class_names)

    def setup(self, stage: str) -> None:
        """Load the rows on the first call."""
        _ = self.splits
        model: Any = self.trainer and self.trainer.lightning_module
        linear = model is None or getattr(model, "equation", None) is not None
        if not linear and self.in_shape != (1,):  # no comparison with the exact answer, and no figure of the line
            self._exact = None
