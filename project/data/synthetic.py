"""Generated rows, for which the best possible MSE is known."""

from math import prod
from typing import Any

import torch
from torch import Tensor

from project.data.datamodule import RowsDataModule, Splits
from project.data.loader import Rows
from project.runtime.errors import UserError
from project.runtime.ranges import NonNegativeFloat, PositiveInt

Numbers = float | list[float] | list[list[float]]


class SyntheticDataModule(RowsDataModule):
    """y = x W + b + noise, with normally distributed x and noise. The defaults are the tutorial's y = 3x + 2.

    Training, validation and test rows come from separate random generators.

    Args:
        rows: Number of training rows.
        features: Columns of x.
        outputs: Columns of y.
        weight: W, as one number for all entries, or one for each entry of a (features, outputs) matrix, row by row.
        bias: b, as one number for all outputs, or one for each output.
        noise: Standard deviation of the noise.
        val_rows: Number of validation rows.
        test_rows: Number of test rows.
        batch_size: Rows per batch and process.
        **kwargs: Arguments of `RowsDataModule`.
    """

    def __init__(
        self,
        rows: PositiveInt = 100,
        features: PositiveInt = 1,
        outputs: PositiveInt = 1,
        weight: Numbers = 3.0,
        bias: float | list[float] = 2.0,
        noise: NonNegativeFloat = 1.0,
        val_rows: PositiveInt = 100,
        test_rows: PositiveInt = 100,
        batch_size: PositiveInt = 20,
        **kwargs: Any,
    ) -> None:
        super().__init__(batch_size, **kwargs)
        self.sizes, self.noise = (rows, val_rows, test_rows), noise
        self.weight = _matrix("--data.weight", weight, (features, outputs))
        self.bias = _matrix("--data.bias", bias, (outputs,))
        self.feature_names = ["x"] if features == 1 else [f"x{i}" for i in range(1, features + 1)]
        self.target_names = ["y"] if outputs == 1 else [f"y{i}" for i in range(1, outputs + 1)]

    def load(self) -> Splits:
        """Generate the rows, each split with its own random generator."""
        return Splits(*(self._draw(rows, stream) for stream, rows in enumerate(self.sizes)))

    def _draw(self, rows: int, stream: int) -> Rows:
        generator = torch.Generator().manual_seed(3 * self.seed + stream)
        x = torch.randn(rows, len(self.weight), generator=generator)
        noise = torch.randn(rows, len(self.bias), generator=generator)
        return Rows(x, x @ self.weight + self.bias + self.noise * noise)


def _matrix(flag: str, numbers: Numbers, shape: tuple[int, ...]) -> Tensor:
    values = torch.tensor(numbers, dtype=torch.float32)
    if values.numel() not in (1, prod(shape)):
        raise UserError(f"{flag}: must have 1 or {prod(shape)} numbers, got {values.numel()}")
    return values.expand(shape).clone() if values.numel() == 1 else values.reshape(shape)


class FriedmanDataModule(RowsDataModule):
    """y = 10 sin(pi x1 x2) + 20 (x3 - 0.5)^2 + 10 x4 + 5 x5 + noise, with x uniform in [0, 1).

    The best possible MSE is the variance of the noise.
    Source: Friedman, "Multivariate Adaptive Regression Splines", Annals of Statistics 19 (1991), section 4.3.

    Args:
        rows: Number of training rows.
        features: Columns of x, 5 or more; the columns after the fifth do not affect y.
        noise: Standard deviation of the noise.
        val_rows: Number of validation rows.
        test_rows: Number of test rows.
        **kwargs: Arguments of `RowsDataModule`.
    """

    def __init__(
        self,
        rows: PositiveInt = 2_000,
        features: PositiveInt = 10,
        noise: NonNegativeFloat = 1.0,
        val_rows: PositiveInt = 500,
        test_rows: PositiveInt = 2_000,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if features < 5:
            raise UserError(f"--data.features: must be 5 or more, got {features}")
        self.sizes, self.features, self.noise = (rows, val_rows, test_rows), features, noise
        self.feature_names = [f"x{i}" for i in range(1, features + 1)]
        self.target_names = ["y"]

    def load(self) -> Splits:
        """Generate the rows, each split with its own random generator."""
        return Splits(*(self._draw(rows, stream) for stream, rows in enumerate(self.sizes)))

    def _draw(self, rows: int, stream: int) -> Rows:
        generator = torch.Generator().manual_seed(3 * self.seed + stream)
        x = torch.rand(rows, self.features, generator=generator)
        x1, x2, x3, x4, x5 = x[:, :5].T
        y = 10 * torch.sin(torch.pi * x1 * x2) + 20 * (x3 - 0.5) ** 2 + 10 * x4 + 5 * x5
        return Rows(x, (y + self.noise * torch.randn(rows, generator=generator))[:, None])
