"""Update training metrics once for many batches, since an update costs several kernels."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torchmetrics import MetricCollection

from project.data.loader import Batch

MAX_PENDING, MAX_PENDING_ROWS = 64, 65_536


class RunningMetrics:
    """Collect outputs and targets, and update the metrics when there are enough of them.

    Args:
        metrics: The metrics to update.
        to_target_units: Converts outputs in standard units to target units.

    Attributes:
        rows: Number of training rows that this process has passed through the net.
    """

    def __init__(self, metrics: MetricCollection, to_target_units: Callable[[Tensor], Tensor]) -> None:
        self.metrics, self.to_target_units = metrics, to_target_units
        self.rows = 0
        self._pending: list[Batch] = []

    def reset(self) -> None:
        """Reset the metrics and the number of rows."""
        self._pending.clear()
        self.metrics.reset()
        self.rows = 0

    def update(self, outputs: Tensor, y: Tensor) -> None:
        """Add a batch: outputs (B, out_features) in standard units, and targets in original units."""
        self._pending.append((outputs, y))
        self.rows += len(y)
        if len(self._pending) >= MAX_PENDING or len(self._pending) * len(y) >= MAX_PENDING_ROWS:
            self.flush()

    def flush(self) -> None:
        """Update the metrics with the collected batches."""
        if self._pending:
            outputs, targets = (torch.cat(parts) for parts in zip(*self._pending, strict=True))
            self.metrics.update(self.to_target_units(outputs), targets)
            self._pending.clear()

    def state_dict(self) -> dict[str, Any]:
        """Return the sums and the collected batches separately: adding these early would change the rounding."""
        sums = {name: dict(metric.metric_state) for name, metric in self.metrics.items(keep_base=True)}
        pending = [
            [values.clone() for values in batch] for batch in self._pending
        ]  # a view would be saved with all of its storage
        return {"rows": self.rows, "sums": sums, "pending": pending}

    def load_state_dict(self, state: dict[str, Any], device: torch.device) -> None:
        """Restore what `state_dict` returned."""
        self.rows = state["rows"]
        self._pending = [(outputs.to(device), y.to(device)) for outputs, y in state["pending"]]
        for name, metric in self.metrics.items(keep_base=True, copy_state=False):
            for key, value in state["sums"][name].items():
                setattr(metric, key, value.to(device))
            metric._update_count = 1  # otherwise compute() would warn that there was no update
