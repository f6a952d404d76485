"""Windows of a time series, split in time order."""

from typing import Any

import torch
from torch import Tensor

from project.data.datamodule import RowsDataModule, Splits
from project.data.loader import Rows
from project.data.numbers import check_float32
from project.data.split import check_fractions, sizes
from project.data.statistics import check_resolution, statistics
from project.data.table import column_names, read_numbers, require_columns
from project.runtime.errors import UserError
from project.runtime.ranges import OpenUnitInterval, PositiveFloat, PositiveInt


class SeriesDataModule(RowsDataModule):
    """Forecasting: x is a window of consecutive time steps, y the target at later time steps.

    The first rows of the series are for training, the next for validation and the last for testing. A window and its
    targets are within one split, so that training never sees rows of a later split.

    Without a file, the series y[t] = 1.2 y[t-1] - 0.6 y[t-2] + noise is generated. No one-step forecast has a smaller
    expected MSE than the noise variance. Source: Box, Jenkins & Reinsel, *Time Series Analysis*, 3rd ed., sections 3.2,
    5.1.

    Args:
        path: A CSV file, a Parquet file or a folder of Parquet files, in time order; by default a series is generated.
        target: Name of the column to forecast; the first of `columns` by default.
        columns: Names of the columns to forecast from; all columns by default.
        window: Number of time steps in an input.
        horizon: Number of time steps in a forecast.
        lag: Number of time steps from the last input to the first forecast.
        val_fraction: Fraction of the series to validate on.
        test_fraction: Fraction of the series to test on.
        rows: Length of the generated series.
        noise: Standard deviation of the noise in the generated series.
        batch_size: Windows per batch and process.
        **kwargs: Arguments of `RowsDataModule`.
    """

    def __init__(
        self,
        path: str | None = None,
        target: str | None = None,
        columns: list[str] | None = None,
        window: PositiveInt = 16,
        horizon: PositiveInt = 1,
        lag: PositiveInt = 1,
        val_fraction: OpenUnitInterval = 0.1,
        test_fraction: OpenUnitInterval = 0.2,
        rows: PositiveInt = 20_000,
        noise: PositiveFloat = 1.0,
        batch_size: PositiveInt = 128,
        **kwargs: Any,
    ) -> None:
        super().__init__(batch_size, **kwargs)
        self.source = path or "the generated series"
        self.path, self.window, self.horizon, self.lag, self.rows, self.noise = path, window, horizon, lag, rows, noise
        check_fractions(val_fraction, test_fraction)
        self.val_fraction, self.test_fraction = val_fraction, test_fraction
        present = column_names(path) if path else ["y"]
        self.feature_names = present if columns is None else columns
        require_columns(self.source, self.feature_names, present, "--data.columns")
        self.target = self.feature_names[0] if target is None else target
        require_columns(self.source, [self.target], present, "--data.target")
        steps = range(lag, lag + horizon)
        self.target_names = [self.target] if steps == range(1, 2) else [f"{self.target}+{step}" for step in steps]

    def load(self) -> Splits:
        """Read or generate the series, split it, and take the windows of each split."""
        columns = list(dict.fromkeys([*self.feature_names, self.target]))
        if self.path:
            series = read_numbers(self.path, columns, "correct it, or choose numeric columns with --data.columns")
            check_float32(self.path, series, columns, fix_missing="fill the gaps of the series first")
        else:
            series = self._generate()
        x, y = series[:, : len(self.feature_names)], series[:, columns.index(self.target)]
        # Windows are views of the series, which take no memory.
        check_resolution(self.source, statistics(x), self.feature_names)
        check_resolution(self.source, statistics(y), [self.target])
        lengths = sizes(len(x), self.val_fraction, self.test_fraction)
        return Splits(*(self._windows(*part) for part in zip(x.split(lengths), y.split(lengths), strict=True)))

    def _windows(self, x: Tensor, y: Tensor) -> Rows:
        """Return windows (window, channels) and targets (horizon,), views of a series x (rows, channels), y (rows,)."""
        count = len(x) - self.window - self.lag - self.horizon + 2
        if count < 1:
            size = f"a window of {self.window} steps and a forecast of {self.horizon} at lag {self.lag}"
            fix = "add rows, or lower --data.window or --data.horizon"
            raise UserError(f"{self.source}: a split of {len(x)} rows is too short for {size}; {fix}")
        inputs = x.unfold(0, self.window, 1)[:count].transpose(1, 2)  # (count, window, channels)
        return Rows(inputs, y[self.window + self.lag - 1 :].unfold(0, self.horizon, 1))

    def _generate(self) -> Tensor:
        settle = 200  # number of steps after which the initial values have no effect
        noise = self.noise * torch.randn(self.rows + settle, generator=torch.Generator().manual_seed(self.seed))
        series = [0.0, 0.0]
        for shock in noise.tolist():
            series.append(1.2 * series[-1] - 0.6 * series[-2] + shock)
        return torch.tensor(series[2 + settle :])[:, None]
