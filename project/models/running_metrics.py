"""Training metrics, updated once for many batches: a handful of kernels for all of them, not for each."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torchmetrics import MetricCollection

from project.data.loader import Batch

MAX_PENDING, MAX_PENDING_ROWS = 64, 65_536


class RunningMetrics:
    """Keeps outputs and targets until there are enough of them, and can be saved in between.

    Args:
        metrics: What is updated.
        original: Turns outputs in standard units into target units.

    Attributes:
        rows: Rows that were trained on, on this process.
    """

    def __init__(self, metrics: MetricCollection, original: Callable[[Tensor], Tensor]) -> None:
        self.metrics, self.original = metrics, original
        self.rows = 0
        self._pending: list[Batch] = []

    def reset(self) -> None:
        """Forget everything."""
        self._pending.clear()
        self.metrics.reset()
        self.rows = 0

    def keep(self, outputs: Tensor, y: Tensor) -> None:
        """Take in a batch: outputs (B, out_features) in standard units, and its targets."""
        self._pending.append((outputs, y))
        self.rows += len(y)
        if len(self._pending) >= MAX_PENDING or len(self._pending) * len(y) >= MAX_PENDING_ROWS:
            self.flush()

    def flush(self) -> None:
        """Bring the metrics up to date with every batch."""
        if self._pending:
            outputs, targets = (torch.cat(parts) for parts in zip(*self._pending, strict=True))
            self.metrics.update(self.original(outputs), targets)
            self._pending.clear()

    def state_dict(self) -> dict[str, Any]:
        """Sums so far, and the batches that are not in them: sums of other groups would round otherwise."""
        sums = {name: dict(metric.metric_state) for name, metric in self.metrics.items(keep_base=True)}
        pending = [[values.clone() for values in batch] for batch in self._pending]  # of views all would be saved
        return {"rows": self.rows, "sums": sums, "pending": pending}

    def load_state_dict(self, state: dict[str, Any], device: torch.device) -> None:
        """Go on from where a state was saved."""
        self.rows = state["rows"]
        self._pending = [(outputs.to(device), y.to(device)) for outputs, y in state["pending"]]
        for name, metric in self.metrics.items(keep_base=True, copy_state=False):
            for key, value in state["sums"][name].items():
                setattr(metric, key, value.to(device))
            metric._update_count = 1  # else it would call itself empty
