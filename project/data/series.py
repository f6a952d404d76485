"""Windows over a time series, split in time order."""

import torch
from torch import Tensor

from project.data.datamodule import RowsDataModule, Splits
from project.data.loader import Rows
from project.data.split import check_fractions, sizes
from project.data.statistics import statistics
from project.data.table import column_names, first_repeated, read_numbers, require_columns
from project.runtime.errors import UserError


class SeriesDataModule(RowsDataModule):
    """Learns what comes next: x is a window of consecutive time steps, y the target at later ones.

    The first rows of the series are for training, those after them for validation and the last for testing. A window
    and its targets lie within one split, so that nothing of a later split is seen in an earlier one.

    Without a file the series is generated: y[t] = 1.2 y[t-1] - 0.6 y[t-2] + noise. No one-step forecast of it has an
    MSE below the noise variance. Source: Box, Jenkins & Reinsel, *Time Series Analysis*, 3rd ed., sections 3.2, 5.1.

    Args:
        path: A CSV file, a Parquet file or a folder of Parquet files, in time order; generated unless given.
        target: Name of the column to forecast; the first of `columns` unless given.
        columns: Names of the columns to forecast from; all unless given.
        window: Time steps of an input.
        horizon: Time steps of a forecast.
        lag: Steps from the last input to the first forecast.
        val_fraction: Part of the series to validate on.
        test_fraction: Part of the series to test on.
        rows: Length of the generated series.
        noise: Standard deviation of the generated series' noise.
        batch_size: Windows a batch and process.
        num_workers: Worker processes that gather batches.
        seed: Seed of the generated series and of the order of batches.
    """

    def __init__(
        self,
        path: str | None = None,
        target: str | None = None,
        columns: list[str] | None = None,
        window: int = 16,
        horizon: int = 1,
        lag: int = 1,
        val_fraction: float = 0.1,
        test_fraction: float = 0.2,
        rows: int = 20_000,
        noise: float = 1.0,
        batch_size: int = 128,
        num_workers: int = 0,
        seed: int = 0,
    ) -> None:
        super().__init__(batch_size, num_workers, seed)
        for flag, value in {"window": window, "horizon": horizon, "lag": lag, "rows": rows}.items():
            if value < 1:
                raise UserError(f"--data.{flag} is {value}: give 1 or more")
        if noise <= 0:
            raise UserError(f"--data.noise is {noise}: a standard deviation is above 0")
        self.path, self.window, self.horizon, self.lag, self.rows, self.noise = path, window, horizon, lag, rows, noise
        self.val_fraction, self.test_fraction = check_fractions(val_fraction, test_fraction)
        present = column_names(path) if path else ["y"]
        self.feature_names = present if columns is None else columns
        if first_repeated(self.feature_names) is not None or not self.feature_names:
            raise UserError(f"--data.columns is {self.feature_names}: give each of one or more columns once")
        self.target = self.feature_names[0] if target is None else target
        require_columns(
            path or "the generated series", [*self.feature_names, self.target], present, "--data.columns, --data.target"
        )
        steps = range(lag, lag + horizon)
        self.target_names = [self.target] if steps == range(1, 2) else [f"{self.target}+{step}" for step in steps]

    def load(self) -> Splits:
        """Read or make the series, and lay windows over each of its three parts."""
        if self.path:
            columns = list(dict.fromkeys([*self.feature_names, self.target]))
            series = read_numbers(self.path, columns, "mend it, or choose numeric columns with --data.columns")
            if series.isnan().any():
                row, column = series.isnan().nonzero()[0].tolist()
                raise UserError(f"{self.path}: column {columns[column]!r}, row {row + 1}: no value: fill gaps first")
            x, y = series[:, : len(self.feature_names)], series[:, columns.index(self.target)]
        else:
            x = self._generate()
            y = x[:, 0]
        # Windows are views of a float32 series, so that they take no memory: look at every digit before.
        self.check_resolution(statistics(x), self.feature_names)
        self.check_resolution(statistics(y), [self.target])
        lengths = sizes(len(x), self.val_fraction, self.test_fraction)
        return Splits(*(self._windows(*part) for part in zip(x.split(lengths), y.split(lengths), strict=True)))

    def _windows(self, x: Tensor, y: Tensor) -> Rows:
        """Series x (rows, channels), y (rows,) -> Rows of (window, channels) and (horizon,), views of the series."""
        count = len(x) - self.window - self.lag - self.horizon + 2
        if count < 1:
            raise UserError(
                f"{self.path or 'the generated series'}: a split of {len(x)} rows holds no window of {self.window} "
                f"steps with a forecast of {self.horizon} at lag {self.lag}: give more rows, "
                "or lower --data.window or --data.horizon"
            )
        first = self.window + self.lag - 1
        inputs = x.float().unfold(0, self.window, 1)[:count].transpose(1, 2)  # (count, window, channels)
        return Rows(inputs, y.float()[first:].unfold(0, self.horizon, 1)[:count])

    def _generate(self) -> Tensor:
        settle = 200  # steps until the start is forgotten
        noise = self.noise * torch.randn(self.rows + settle, generator=torch.Generator().manual_seed(self.seed))
        series = [0.0, 0.0]
        for shock in noise.tolist():
            series.append(1.2 * series[-1] - 0.6 * series[-2] + shock)
        return torch.tensor(series[2 + settle :])[:, None]
