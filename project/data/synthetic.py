"""Rows whose truth is known: y = x W + b + noise."""

from math import prod

import torch
from torch import Tensor

from project.data.datamodule import RowsDataModule, Splits
from project.data.loader import Rows
from project.runtime.errors import UserError

Numbers = float | list[float] | list[list[float]]


class SyntheticDataModule(RowsDataModule):
    """y = x W + b + noise, with x and noise from normal distributions. The defaults are the tutorial's y = 3x + 2.

    Training, validation and test rows are drawn from separate random streams.

    Args:
        rows: Number of training rows.
        features: Columns of x.
        outputs: Columns of y.
        weight: W: one number for all entries, or one an entry of a (features, outputs) matrix, row by row.
        bias: b: one number, or one an output.
        noise: Standard deviation of the noise.
        val_rows: Number of validation rows.
        test_rows: Number of test rows.
        batch_size: Rows a batch and process.
        num_workers: Worker processes that gather batches.
        seed: Seed of the rows and of the order of batches.

    Attributes:
        weight: The true W, shape (features, outputs).
        bias: The true b, shape (outputs,).
    """

    def __init__(
        self,
        rows: int = 100,
        features: int = 1,
        outputs: int = 1,
        weight: Numbers = 3.0,
        bias: float | list[float] = 2.0,
        noise: float = 1.0,
        val_rows: int = 100,
        test_rows: int = 100,
        batch_size: int = 20,
        num_workers: int = 0,
        seed: int = 0,
    ) -> None:
        super().__init__(batch_size, num_workers, seed)
        sizes = {"rows": rows, "features": features, "outputs": outputs, "val_rows": val_rows, "test_rows": test_rows}
        for flag, value in sizes.items():
            if value < 1:
                raise UserError(f"--data.{flag} is {value}: give 1 or more")
        if noise < 0:
            raise UserError(f"--data.noise is {noise}: a standard deviation is 0 or more")
        self.rows, self.val_rows, self.test_rows, self.noise = rows, val_rows, test_rows, noise
        self.weight = _matrix("--data.weight", weight, (features, outputs))
        self.bias = _matrix("--data.bias", bias, (outputs,))
        self.feature_names = ["x"] if features == 1 else [f"x{i}" for i in range(1, features + 1)]
        self.target_names = ["y"] if outputs == 1 else [f"y{i}" for i in range(1, outputs + 1)]

    def load(self) -> Splits:
        """Draw the rows."""
        return Splits(
            *(self._draw(rows, stream) for stream, rows in enumerate((self.rows, self.val_rows, self.test_rows)))
        )

    def _draw(self, rows: int, stream: int) -> Rows:
        generator = torch.Generator().manual_seed(3 * self.seed + stream)
        x = torch.randn(rows, len(self.weight), generator=generator)
        noise = torch.randn(rows, len(self.bias), generator=generator)
        return Rows(x, x @ self.weight + self.bias + self.noise * noise)


def _matrix(flag: str, numbers: Numbers, shape: tuple[int, ...]) -> Tensor:
    values = torch.tensor(numbers, dtype=torch.float32)
    if values.numel() not in (1, prod(shape)):
        raise UserError(f"{flag} has {values.numel()} numbers: give 1 or {prod(shape)}")
    return values.expand(shape).clone() if values.numel() == 1 else values.reshape(shape)
