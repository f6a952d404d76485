"""Loss and regression metrics, weighted by rows, for batches of any size and any number of processes."""

from typing import Any

import torch
from torch import Tensor, nn
from torchmetrics import Metric


class MeanLoss(Metric):
    """Mean of a loss over the rows of all batches.

    Args:
        criterion: A loss that averages over the rows of a batch, such as `torch.nn.MSELoss()`.
    """

    full_state_update = False
    total: Tensor
    rows: Tensor

    def __init__(self, criterion: nn.Module) -> None:
        super().__init__()
        self.criterion = criterion
        self.add_state("total", torch.tensor(0.0), dist_reduce_fx="sum")
        self.add_state("rows", torch.tensor(0.0), dist_reduce_fx="sum")

    def update(self, outputs: Tensor, target: Tensor) -> None:
        """Add a batch: outputs (B, out_features), and targets of the shape that the criterion takes."""
        dtype = _sum_dtype(outputs)
        target = target.to(dtype) if target.is_floating_point() else target
        self.total = self.total + self.criterion(outputs.to(dtype), target) * len(target)
        self.rows = self.rows + len(target)

    def compute(self) -> Tensor:
        """Return the mean."""
        return self.total / self.rows


class RegressionMetrics(Metric):
    """mse, rmse, mae and r2 of predictions, each averaged over targets.

    Sums are float64 (float32 on devices without it). The variance of the targets is accumulated as means and squared
    deviations, so that r2 is accurate for targets far from zero, where sums of squares cancel; batches are merged as in
    Chan, Golub & LeVeque (1979).

    Args:
        out_features: Number of targets.
        **options: Arguments of `torchmetrics.Metric`, such as `sync_on_compute=False` if each process has all rows.
    """

    full_state_update = False
    count: Tensor
    mean: Tensor
    deviation: Tensor
    squared: Tensor
    absolute: Tensor

    def __init__(self, out_features: int, **options: Any) -> None:
        super().__init__(**options)
        self.add_state("count", torch.zeros(1), dist_reduce_fx=None)
        for state in ("mean", "deviation", "squared", "absolute"):
            self.add_state(state, torch.zeros(out_features), dist_reduce_fx=None)

    def update(self, prediction: Tensor, target: Tensor) -> None:
        """Add a batch: predictions and targets, both (B, out_features) in target units."""
        dtype = _sum_dtype(target)
        prediction, target = prediction.to(dtype), target.to(dtype)
        rows = len(target)
        error = prediction - target
        self.squared = self.squared + error.square().sum(0)
        self.absolute = self.absolute + error.abs().sum(0)
        mean = target.mean(0)
        deviation = (target - mean).square().sum(0)  # several times faster than torch.var_mean
        count = self.count.to(dtype) + rows
        delta = mean - self.mean
        self.deviation = self.deviation + deviation + delta.square() * (rows * self.count / count)
        self.mean = self.mean + delta * (rows / count)
        self.count = count

    def compute(self) -> dict[str, Tensor]:
        """Return each metric over all rows of all processes; r2 is NaN if a target is constant."""
        count = self.count.view(-1, 1)  # (processes, 1)
        rows = count.sum()
        means = self.mean.view(len(count), -1)  # (processes, out)
        spread = (means - (count * means).sum(0) / rows).square() * count
        total = (self.deviation.view(len(count), -1) + spread).sum(0)
        squared = self.squared.view(len(count), -1).sum(0)
        mse = squared.mean() / rows
        return {
            "mse": mse,
            "rmse": mse.sqrt(),
            "mae": self.absolute.view(len(count), -1).sum(0).mean() / rows,
            "r2": torch.where(total > 0, 1 - squared / total, torch.nan).mean(),
        }


def _sum_dtype(values: Tensor) -> torch.dtype:
    """Return the precision of sums: float64 if the device supports it."""
    return torch.float32 if values.device.type == "mps" else torch.float64
