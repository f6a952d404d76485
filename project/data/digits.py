"""Handwritten digits, a data set of real images that is part of scikit-learn."""

from collections.abc import Mapping
from typing import Any

import torch

from project.data.datamodule import RowsDataModule, Splits
from project.data.loader import Rows
from project.data.split import check_fractions, random_split
from project.runtime.errors import UserError
from project.runtime.ranges import OpenUnitInterval


class DigitsDataModule(RowsDataModule):
    """The digits data set of scikit-learn: 1,797 images of 8 x 8 pixels, values 0 to 16, with classes 0 to 9.

    Source: Alpaydin & Kaynak, "Optical Recognition of Handwritten Digits", UCI Machine Learning Repository (1998).

    Args:
        classes: Digits to keep, renumbered from 0 in ascending order; all digits by default.
        as_sequence: Whether an image is a sequence of its rows, (8, 8), instead of (1, 8, 8).
        val_fraction: Fraction of the rows to validate on.
        test_fraction: Fraction of the rows to test on.
        **kwargs: Arguments of `RowsDataModule`.
    """

    def __init__(
        self,
        classes: list[int] | None = None,
        as_sequence: bool = False,
        val_fraction: OpenUnitInterval = 0.1,
        test_fraction: OpenUnitInterval = 0.2,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.classes = sorted(set(range(10) if classes is None else classes))
        if len(self.classes) < 2 or not set(self.classes) <= set(range(10)):
            raise UserError(f"--data.classes: must be two or more digits from 0 to 9, got {classes}")
        self.row_shape = (8, 8) if as_sequence else (1, 8, 8)
        check_fractions(val_fraction, test_fraction)
        self.val_fraction, self.test_fraction = val_fraction, test_fraction
        self.class_names = [str(digit) for digit in self.classes]
        self.feature_names = [f"pixel_{row}_{column}" for row in range(8) for column in range(8)]
        self.target_names = ["digit"]

    @classmethod
    def default_model(cls, arguments: Mapping[str, Any]) -> str:
        """Return the class path of the model for classification."""
        return "project.models.Classification"

    def load(self) -> Splits:
        """Read the images."""
        try:
            from sklearn.datasets import load_digits
        except ImportError as error:
            raise UserError('--data DigitsDataModule: needs scikit-learn; run pip install -e ".[data]"') from error

        images, digits = (torch.from_numpy(part) for part in load_digits(return_X_y=True))
        kept = torch.isin(digits, torch.tensor(self.classes))
        x = images[kept].float().view(-1, *self.row_shape)
        y = torch.searchsorted(torch.tensor(self.classes), digits[kept])
        parts = random_split(len(x), self.val_fraction, self.test_fraction, self.seed)
        return Splits(*(Rows(x[part], y[part]) for part in parts))
