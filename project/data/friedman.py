"""A smooth nonlinear function with known noise, the usual test of nonlinear regression."""

import torch

from project.data.datamodule import RowsDataModule, Splits
from project.data.loader import Rows
from project.runtime.errors import UserError


class FriedmanDataModule(RowsDataModule):
    """y = 10 sin(pi x1 x2) + 20 (x3 - 0.5)^2 + 10 x4 + 5 x5 + noise, with x uniform in [0, 1).

    The best possible MSE is the variance of the noise.
    Source: Friedman, "Multivariate Adaptive Regression Splines", Annals of Statistics 19 (1991), section 4.3.

    Args:
        rows: Number of training rows.
        features: Columns of x, 5 or more; those after the fifth have no influence.
        noise: Standard deviation of the noise.
        val_rows: Number of validation rows.
        test_rows: Number of test rows.
        batch_size: Rows a batch and process.
        num_workers: Worker processes that gather batches.
        seed: Seed of the rows and of the order of batches.
    """

    def __init__(
        self,
        rows: int = 2_000,
        features: int = 10,
        noise: float = 1.0,
        val_rows: int = 500,
        test_rows: int = 2_000,
        batch_size: int = 32,
        num_workers: int = 0,
        seed: int = 0,
    ) -> None:
        super().__init__(batch_size, num_workers, seed)
        for flag, value in {"rows": rows, "val_rows": val_rows, "test_rows": test_rows}.items():
            if value < 1:
                raise UserError(f"--data.{flag} is {value}: give 1 or more")
        if features < 5:
            raise UserError(f"--data.features is {features}: the function needs 5 or more")
        if noise < 0:
            raise UserError(f"--data.noise is {noise}: a standard deviation is 0 or more")
        self.sizes, self.features, self.noise = (rows, val_rows, test_rows), features, noise
        self.feature_names = [f"x{i}" for i in range(1, features + 1)]
        self.target_names = ["y"]

    def load(self) -> Splits:
        """Draw the rows, each split from a stream of its own."""
        return Splits(*(self._draw(rows, stream) for stream, rows in enumerate(self.sizes)))

    def _draw(self, rows: int, stream: int) -> Rows:
        generator = torch.Generator().manual_seed(3 * self.seed + stream)
        x = torch.rand(rows, self.features, generator=generator)
        x1, x2, x3, x4, x5 = x[:, :5].T
        y = 10 * torch.sin(torch.pi * x1 * x2) + 20 * (x3 - 0.5) ** 2 + 10 * x4 + 5 * x5
        return Rows(x, (y + self.noise * torch.randn(rows, generator=generator))[:, None])
