"""Quantile regression: the pinball loss, and the share of targets below the predictions."""

from typing import Any

import torch
from torch import Tensor, nn
from torchmetrics import Metric

from project.runtime.errors import UserError


class PinballLoss(nn.modules.loss._Loss):
    """The loss that a quantile minimises: 0.5 is the median, and 90 % of targets are below the quantile 0.9.

    Source: Koenker & Bassett, "Regression Quantiles" (1978).

    Args:
        quantile: The quantile, between 0 and 1.
        reduction: "mean", or "none" for the loss of each target.
    """

    def __init__(self, quantile: float = 0.5, reduction: str = "mean") -> None:
        super().__init__(reduction=reduction)
        if not 0 < quantile < 1:
            raise UserError(f"--model.loss.quantile: must be between 0 and 1, got {quantile}")
        self.quantile = quantile

    def forward(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """(B, out_features), (B, out_features) -> a scalar, or (B, out_features) without reduction."""
        error = targets - outputs
        losses = torch.maximum(self.quantile * error, (self.quantile - 1) * error)
        return losses.mean() if self.reduction == "mean" else losses


class ShareBelow(Metric):
    """Share of targets at or below their predictions; with `PinballLoss`, it should be near the quantile."""

    full_state_update = False
    below: Tensor
    count: Tensor

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.add_state("below", torch.tensor(0.0), dist_reduce_fx="sum")
        self.add_state("count", torch.tensor(0.0), dist_reduce_fx="sum")

    def update(self, prediction: Tensor, target: Tensor) -> None:
        """Add a batch: predictions and targets, both (B, out_features) in target units."""
        self.below = self.below + (target <= prediction).sum()
        self.count = self.count + target.numel()

    def compute(self) -> Tensor:
        """Return the share."""
        return self.below / self.count
