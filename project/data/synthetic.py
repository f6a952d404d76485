"""Generated rows with known coefficients: y = x W + b + noise."""

from math import prod

import torch
from torch import Tensor

from project.data.datamodule import RowsDataModule, Splits
from project.data.loader import Rows
from project.runtime.errors import UserError
from project.runtime.ranges import NonNegativeFloat, NonNegativeInt, PositiveInt

Numbers = float | list[float] | list[list[float]]


class SyntheticDataModule(RowsDataModule):
    """y = x W + b + noise, with normally distributed x and noise. The defaults are the tutorial's y = 3x + 2.

    Training, validation and test rows come from separate random generators.

    Args:
        rows: Number of training rows.
        features: Columns of x.
        outputs: Columns of y.
        weight: W: one number for all entries, or one for each entry of a (features, outputs) matrix, row by row.
        bias: b: one number, or one for each output.
        noise: Standard deviation of the noise.
        val_rows: Number of validation rows.
        test_rows: Number of test rows.
        batch_size: Rows per batch and process.
        num_workers: Worker processes that load batches.
        seed: Seed of the rows and of the order of batches.

    Attributes:
        weight: The true W, shape (features, outputs).
        bias: The true b, shape (outputs,).

    Raises:
        UserError: If `weight` or `bias` has the wrong number of entries.
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
        num_workers: NonNegativeInt = 0,
        seed: NonNegativeInt = 0,
    ) -> None:
        super().__init__(batch_size, num_workers, seed)
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
