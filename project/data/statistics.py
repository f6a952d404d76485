"""Mean and standard deviation of columns in float64, in one pass over blocks of rows."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import compress

import torch
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor

from project.nets.scaling import column_shape
from project.runtime.errors import UserError

BLOCK_ROWS = 65_536


@dataclass(frozen=True)
class Statistics:
    """Column statistics of a set of rows; every tensor is float64, with one value per column or channel.

    Attributes:
        mean: Arithmetic mean.
        std: Population standard deviation, as in scikit-learn's `StandardScaler`; 1 if the column is constant.
        constant: Whether the column has a single value.
    """

    mean: Tensor
    std: Tensor
    constant: Tensor


class RunningStatistics:
    """Accumulate column statistics over blocks of rows (n, *row_shape), without numerical cancellation.

    Source: Chan, Golub & LeVeque, "Updating Formulae and a Pairwise Algorithm for Computing Sample Variances" (1979).
    """

    def __init__(self, row_shape: tuple[int, ...]) -> None:
        self.shape = column_shape(row_shape)
        self.axes = {0: (0,), 1: (0,), 2: (0, 1), 3: (0, 2, 3)}[len(row_shape)]
        self.count = 0
        self.mean, self.squares = torch.zeros(self.shape).double(), torch.zeros(self.shape).double()
        self.lowest = torch.full(self.shape, torch.inf).double()
        self.highest = torch.full(self.shape, -torch.inf).double()

    def update(self, rows: Tensor) -> None:
        """Add rows (n, *row_shape), n at least 1."""
        values = rows.double()
        var, mean = torch.var_mean(values, dim=self.axes, correction=0)
        mean, var = mean.view(self.shape), var.view(self.shape)
        n = values.numel() // max(self.mean.numel(), 1)
        lowest, highest = values.amin(dim=self.axes).view(self.shape), values.amax(dim=self.axes).view(self.shape)
        self._merge(n, mean, var * n, lowest, highest)

    def merge(self, other: "RunningStatistics") -> None:
        """Add the rows of other statistics of the same shape."""
        if other.count:
            self._merge(other.count, other.mean, other.squares, other.lowest, other.highest)

    def _merge(self, n: int, mean: Tensor, squares: Tensor, lowest: Tensor, highest: Tensor) -> None:
        delta = mean - self.mean
        self.squares += squares + delta.square() * self.count * n / (self.count + n)
        self.mean += delta * n / (self.count + n)
        self.count += n
        self.lowest = torch.minimum(self.lowest, lowest)
        self.highest = torch.maximum(self.highest, highest)

    def compute(self) -> Statistics:
        """Return the statistics of all rows so far."""
        constant = self.lowest == self.highest
        std = torch.where(constant, 1.0, (self.squares / self.count).sqrt())
        return Statistics(torch.where(constant, self.lowest, self.mean), std, constant)


def statistics(rows: Tensor) -> Statistics:
    """Return the column statistics of rows (n, *row_shape)."""
    running = RunningStatistics(tuple(rows.shape[1:]))
    for block in rows.split(BLOCK_ROWS):
        running.update(block)
    return running.compute()


def one_hot_statistics(columns: Statistics, x: Tensor, sizes: Sequence[int]) -> Statistics:
    """Return the statistics after `OneHot`. Those of quantities do not change, those of levels follow from frequencies.

    Args:
        columns: Statistics of the columns of x.
        x: Rows (rows, columns), with codes of categories.
        sizes: For each column, the number of levels; 0 for a quantity.
    """
    parts = []
    for column, size in enumerate(sizes):
        if not size:
            parts.append(
                torch.stack([columns.mean[column], columns.std[column], columns.constant[column].double()])[:, None]
            )
            continue
        counts = torch.zeros(size + 1, dtype=torch.long)
        for codes in x[:, column].split(BLOCK_ROWS):
            counts += codes.long().bincount(minlength=size + 1)
        share = counts[2:].double() / len(x)
        deviation = (share * (1 - share)).sqrt()
        parts.append(torch.stack([share, torch.where(deviation == 0, 1.0, deviation), (deviation == 0).double()]))
    mean, std, constant = torch.cat(parts, dim=1)
    return Statistics(mean, std, constant.bool())


def check_training_columns(place: str, columns: Statistics, names: list[str]) -> None:
    """Print a warning about constant columns of the training rows, and check the resolution of the others.

    Raises:
        UserError: If the values of a column differ by less than float32 can represent.
    """
    if len(names) != columns.mean.numel():  # images have statistics per channel
        names = [f"channel {channel}" for channel in range(columns.mean.numel())]
    constant = ", ".join(compress(names, columns.constant.flatten()))
    if constant:
        rank_zero_warn(f"constant in the training rows, so the model cannot learn from them: {constant}")
    check_resolution(place, columns, names)


def check_resolution(place: str, columns: Statistics, names: list[str]) -> None:
    """Raise a UserError for a column whose values differ by less than float32 can represent."""
    resolution = columns.mean.abs() * torch.finfo(torch.float32).eps
    lost = (columns.std < 16 * resolution) & ~columns.constant
    _check_columns(place, lost, names, "varies less than float32 resolves at its size; subtract an offset from it")


def check_means(place: str, means: Tensor, names: list[str]) -> None:
    """Raise a UserError for a column whose missing values cannot be filled, because its mean is NaN."""
    _check_columns(place, means.isnan(), names, "has no values in the training rows; exclude it by --data.features")


def _check_columns(place: str, wrong: Tensor, names: list[str], message: str) -> None:
    if wrong.any():
        raise UserError(f"{place}: column {names[int(wrong.flatten().nonzero()[0])]!r} {message}")
