"""A smooth nonlinear function with known noise, a common benchmark of nonlinear regression."""

import torch

from project.data.datamodule import RowsDataModule, Splits
from project.data.loader import Rows
from project.runtime.errors import UserError
from project.runtime.ranges import NonNegativeFloat, NonNegativeInt, PositiveInt


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
        batch_size: Rows per batch and process.
        num_workers: Worker processes that load batches.
        seed: Seed of the rows and of the order of batches.

    Raises:
        UserError: If there are fewer than 5 features.
    """

    def __init__(
        self,
        rows: PositiveInt = 2_000,
        features: PositiveInt = 10,
        noise: NonNegativeFloat = 1.0,
        val_rows: PositiveInt = 500,
        test_rows: PositiveInt = 2_000,
        batch_size: PositiveInt = 32,
        num_workers: NonNegativeInt = 0,
        seed: NonNegativeInt = 0,
    ) -> None:
        super().__init__(batch_size, num_workers, seed)
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
