"""Metrics of losses and regression, weighted by rows, for batches of any size and any number of processes."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torchmetrics import Metric, MetricCollection

from project.data.loader import Batch
from project.models.losses import class_weights, row_losses
from project.runtime.distributed import gather_equal

MAX_PENDING, MAX_PENDING_ROWS = 64, 65_536


class MeanLoss(Metric):
    """Mean of a loss over the rows of all batches. The loss must average over rows, such as `torch.nn.MSELoss()`.

    Rows are weighted as in the loss, for example by the class weights of cross-entropy, times their own weights.
    """

    full_state_update = False
    total: Tensor
    rows: Tensor

    def __init__(self, criterion: nn.Module) -> None:
        super().__init__(dist_sync_fn=gather_equal)
        self.criterion = criterion
        self.add_state("total", torch.tensor(0.0), dist_reduce_fx="sum")
        self.add_state("rows", torch.tensor(0.0), dist_reduce_fx="sum")

    def update(self, outputs: Tensor, target: Tensor, weights: Tensor | None = None) -> None:
        """Add a batch: outputs (B, out_features), targets of the shape that the criterion takes, and row weights.

        The weights have shape (B, any); their mean is the weight of a row.
        """
        dtype = sum_dtype(outputs)
        target = target.to(dtype) if target.is_floating_point() else target
        each = class_weights(self.criterion.to(dtype), target)
        if weights is not None:
            own = weights.to(dtype).view(len(weights), -1).mean(1)
            self.total = self.total + (row_losses(self.criterion, outputs.to(dtype), target) * own).sum()
            self.rows = self.rows + (own if each is None else own * each).sum()
            return
        rows = len(target) if each is None else each.sum()
        if rows:
            self.total = self.total + self.criterion(outputs.to(dtype), target) * rows
            self.rows = self.rows + rows

    def compute(self) -> Tensor:
        """Return the mean."""
        return self.total / self.rows


class RegressionMetrics(Metric):
    """Compute mse, rmse, mae and r2 of predictions, each averaged over targets.

    Sums are float64 (float32 on devices without it). The variance of the targets is accumulated as means and squared
    deviations, so that r2 is accurate for targets far from zero, where sums of squares cancel; batches are merged as in
    Chan, Golub & LeVeque (1979).
    """

    full_state_update = False
    names = ("mse", "rmse", "mae", "r2")
    count: Tensor
    mean: Tensor
    deviation: Tensor
    squared: Tensor
    absolute: Tensor

    def __init__(self, out_features: int, **options: Any) -> None:
        super().__init__(dist_sync_fn=gather_equal, **options)
        self.add_state("count", torch.zeros(1), dist_reduce_fx=None)
        for state in ("mean", "deviation", "squared", "absolute"):
            self.add_state(state, torch.zeros(out_features), dist_reduce_fx=None)

    def update(self, prediction: Tensor, target: Tensor) -> None:
        """Add a batch: predictions and targets, both (B, out_features) in target units."""
        dtype = sum_dtype(target)
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
        states = (self.mean, self.deviation, self.squared, self.absolute)
        means, deviations, squared, absolute = (state.view(len(count), -1) for state in states)  # (processes, out)
        rows = count.sum()
        spread = (means - (count * means).sum(0) / rows).square() * count
        total = (deviations + spread).sum(0)
        r2 = torch.where(total > 0, 1 - squared.sum(0) / total, torch.nan).mean()
        mse = squared.sum(0).mean() / rows
        return {"mse": mse, "rmse": mse.sqrt(), "mae": absolute.sum(0).mean() / rows, "r2": r2}


def sum_dtype(values: Tensor) -> torch.dtype:
    """Return the dtype of sums: float64 if the device supports it."""
    return torch.float32 if values.device.type == "mps" else torch.float64


class RunningMetrics:
    """Collects outputs and targets to update the metrics once for many batches, since each update takes many kernels.

    Attributes:
        rows: Number of training rows that this process has passed through the net.
    """

    def __init__(self, metrics: MetricCollection, to_target_units: Callable[[Tensor], Tensor]) -> None:
        self.metrics, self.to_target_units, self.rows = metrics, to_target_units, 0
        self._pending: list[Batch] = []

    def reset(self) -> None:
        """Reset the metrics and the number of rows."""
        self._pending.clear()
        self.metrics.reset()
        self.rows = 0

    def update(self, outputs: Tensor, y: Tensor, weights: Tensor | None = None) -> None:
        """Add a batch: outputs (B, out_features) in standard units, targets in original units, and weights (B, any)."""
        self._pending.append((outputs, y) if weights is None else (outputs, y, weights))
        self.rows += len(y)
        if len(self._pending) >= MAX_PENDING or len(self._pending) * len(y) >= MAX_PENDING_ROWS:
            self.flush()

    def flush(self) -> None:
        """Update the metrics with the collected batches."""
        if self._pending:
            outputs, targets, *weights = (torch.cat(parts) for parts in zip(*self._pending, strict=True))
            self.metrics.update(self.to_target_units(outputs), targets, weights=weights[0] if weights else None)
            self._pending.clear()

    def state_dict(self) -> dict[str, Any]:
        """Return the sums and the collected batches separately, since adding these early would change the rounding."""
        sums = {name: dict(metric.metric_state) for name, metric in self.metrics.items(keep_base=True)}
        # Clones, because a view would be saved with all of its storage.
        pending = [[values.clone() for values in batch] for batch in self._pending]
        return {"rows": self.rows, "sums": sums, "pending": pending}

    def load_state_dict(self, state: dict[str, Any], device: torch.device) -> None:
        """Restore what `state_dict` returned."""
        self.rows = state["rows"]
        self._pending = [tuple(part.to(device) for part in batch) for batch in state["pending"]]
        for name, metric in self.metrics.items(keep_base=True, copy_state=False):
            for key, value in state["sums"][name].items():
                setattr(metric, key, value.to(device))
