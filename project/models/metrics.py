"""Metrics of regression, weighted by rows, from sums that any number of batches and processes can share."""

from typing import Any

import torch
from torch import Tensor, nn
from torchmetrics import Metric


class RegressionMetrics(Metric):
    """loss, mse, rmse, mae and r2 of predictions, each averaged over targets.

    Sums are float64 (float32 on devices without it), and the targets' variance is kept as means and squared deviations,
    so that r2 holds for targets far from zero, where sums of squares cancel.
    Source of the merge: Chan, Golub & LeVeque (1979).

    Args:
        out_features: Number of targets.
        criterion: A loss that averages over rows, such as `torch.nn.MSELoss()`.
        **options: Of `torchmetrics.Metric`; `sync_on_compute=False` where each process has seen all rows.
    """

    full_state_update = False
    count: Tensor
    mean: Tensor
    deviation: Tensor
    squared: Tensor
    absolute: Tensor
    loss: Tensor

    def __init__(self, out_features: int, criterion: nn.Module, **options: Any) -> None:
        super().__init__(**options)
        self.criterion = criterion
        for state in ("count", "loss"):
            self.add_state(state, torch.zeros(1), dist_reduce_fx=None)
        for state in ("mean", "deviation", "squared", "absolute"):
            self.add_state(state, torch.zeros(out_features), dist_reduce_fx=None)

    def update(self, prediction: Tensor, target: Tensor) -> None:
        """Take in a batch, both (B, out_features) in target units."""
        high = torch.float32 if target.device.type == "mps" else torch.float64
        prediction, target = prediction.to(high), target.to(high)
        rows = len(target)
        error = prediction - target
        self.loss = self.loss + self.criterion(prediction, target) * rows
        self.squared = self.squared + error.square().sum(0)
        self.absolute = self.absolute + error.abs().sum(0)
        variance, mean = torch.var_mean(target, dim=0, correction=0)
        count = self.count.to(high) + rows
        delta = mean - self.mean
        self.deviation = self.deviation + variance * rows + delta.square() * (rows * self.count / count)
        self.mean = self.mean + delta * (rows / count)
        self.count = count

    def compute(self) -> dict[str, Tensor]:
        """Each metric over all rows of all processes; r2 is NaN where a target is constant."""
        count = self.count.view(-1, 1)  # (processes, 1)
        rows = count.sum()
        means = self.mean.view(len(count), -1)  # (processes, out)
        spread = (means - (count * means).sum(0) / rows).square() * count
        total = (self.deviation.view(len(count), -1) + spread).sum(0)
        squared = self.squared.view(len(count), -1).sum(0)
        mse = squared.mean() / rows
        return {
            "loss": self.loss.sum() / rows,
            "mse": mse,
            "rmse": mse.sqrt(),
            "mae": self.absolute.view(len(count), -1).sum(0).mean() / rows,
            "r2": torch.where(total > 0, 1 - squared / total, torch.nan).mean(),
        }
