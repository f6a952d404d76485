"""Mean and standard deviation of a split's columns, in float64, in one sweep of blocks."""

from dataclasses import dataclass

import torch
from torch import Tensor

BLOCK_ROWS = 65_536


@dataclass(frozen=True)
class Statistics:
    """What standardisation needs to know of a set of rows; every tensor is float64 with one value a column or channel.

    Attributes:
        mean: Arithmetic mean.
        std: Population standard deviation (as scikit-learn's `StandardScaler`), and 1 where a column is constant.
        constant: Whether the column has a single value.
    """

    mean: Tensor
    std: Tensor
    constant: Tensor


def column_shape(row_shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape of statistics that broadcasts over rows of a shape.

    A table (d,) has one a column, a series (time, channels) one a channel, an image (channels, height, width) one a
    channel.
    """
    return row_shape if len(row_shape) < 2 else row_shape[-1:] if len(row_shape) == 2 else (row_shape[0], 1, 1)


def statistics(rows: Tensor) -> Statistics:
    """Column statistics of rows (n, *row_shape), blockwise; the means of blocks are merged without cancellation.

    Source: Chan, Golub & LeVeque, "Updating Formulae and a Pairwise Algorithm for Computing Sample Variances" (1979).
    """
    shape = column_shape(tuple(rows.shape[1:]))
    axes = {1: (0,), 2: (0,), 3: (0, 1), 4: (0, 2, 3)}[rows.ndim]
    count, mean, squares = 0, torch.zeros(shape).double(), torch.zeros(shape).double()
    lowest, highest = torch.full(shape, torch.inf).double(), torch.full(shape, -torch.inf).double()
    for block in rows.split(BLOCK_ROWS):
        values = block.double()
        block_var, block_mean = torch.var_mean(values, dim=axes, correction=0)
        block_mean, block_var = block_mean.view(shape), block_var.view(shape)
        n = values.numel() // max(mean.numel(), 1)
        delta = block_mean - mean
        squares += block_var * n + delta.square() * count * n / (count + n)
        mean += delta * n / (count + n)
        count += n
        lowest = torch.minimum(lowest, values.amin(dim=axes).view(shape))
        highest = torch.maximum(highest, values.amax(dim=axes).view(shape))
    constant = lowest == highest
    std = torch.where(constant, 1.0, (squares / count).sqrt())
    return Statistics(torch.where(constant, lowest, mean), std, constant)
