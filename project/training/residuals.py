"""Residuals of a model's predictions, and the prediction intervals for new rows that follow from them."""

from typing import NamedTuple

import torch
from lightning.pytorch import LightningDataModule, LightningModule
from torch import Tensor

from project.data.datamodule import RowsDataModule
from project.data.loader import Rows
from project.models.regression import Regression
from project.runs.intervals import STEPS, half_width, half_widths

MAX_ROWS, BATCH_ROWS = 10_000, 1_024
LEVEL = 0.9


@torch.inference_mode()
def absolute_residuals(model: Regression, rows: Rows) -> Tensor:
    """Return the absolute residuals (n, out_features) of up to 10,000 evenly spaced rows, in float64 on the CPU."""
    count = min(len(rows), MAX_ROWS)
    index = torch.arange(count) * (len(rows) - 1) // max(count - 1, 1)
    was_training = model.training
    model.eval()
    parts = []
    for part in index.split(BATCH_ROWS):
        x, y, *_ = rows.gather(part)
        parts.append((model(x.to(next(model.parameters()))).cpu().double() - y.cpu().double()).abs())
    model.train(was_training)
    return torch.cat(parts)


class Intervals(NamedTuple):
    """Prediction intervals of a run.

    Attributes:
        half_widths: Result of `project.runs.intervals.half_widths` for the validation rows.
        rows: Number of those validation rows.
        target_names: One name for each target.
        level: The level of `shown` and `coverage`.
        shown: Half the width of the interval of each target.
        coverage: Share of the test targets that lie within their intervals.
    """

    half_widths: list[list[float]]
    rows: int
    target_names: list[str]
    level: float
    shown: list[float]
    coverage: float

    def summary(self, max_targets: int) -> str:
        """Return a sentence about the intervals of the first targets."""
        widths = [f"{name} ± {width:#.4g}" for name, width in zip(self.target_names, self.shown, strict=True)]
        more = f", and {len(widths) - max_targets} more" if len(widths) > max_targets else ""
        return (
            f"Intervals of {100 * self.level:g} %, from {self.rows:,} validation rows: "
            f"{', '.join(widths[:max_targets])}{more}; {100 * self.coverage:.1f} % of the test targets lie within them."
        )


def intervals(model: LightningModule, data: LightningDataModule) -> Intervals | None:
    """Return the intervals of a model that predicts numbers; None for others, and with fewer than 9 validation rows."""
    if not isinstance(model, Regression) or not isinstance(data, RowsDataModule):
        return None
    residuals = absolute_residuals(model, data.splits.val)
    widths = half_widths(residuals)
    if len(widths[0]) < LEVEL * STEPS:
        return None
    shown = half_width(widths, LEVEL)
    inside = absolute_residuals(model, data.splits.test) <= torch.tensor(shown, dtype=torch.float64)
    return Intervals(widths, len(residuals), data.target_names, LEVEL, shown, inside.double().mean().item())
