"""Regression: a net, a loss, and what it has learned in the user's own units."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from project.data.statistics import column_shape
from project.errors import UserError
from project.models.metrics import RegressionMetrics
from project.models.supervised import Supervised
from project.nets.linear import Linear
from project.nets.net import Net


class Equation(NamedTuple):
    """y = x @ weights + bias in original units: weights (in_features, out_features), bias (out_features,), float64."""

    weights: Tensor
    bias: Tensor


class Regression(Supervised):
    """Learns numbers.

    The loss is minimised in standard units, so that a learning rate means the same whatever the units of the data, and
    logged in target units.

    Args:
        in_shape: Shape of one row of x; comes from the data.
        out_features: Number of targets; comes from the data.
        net: The network.
        loss: The loss, any of `torch.nn` that averages over rows.
        l1: Weight of the sum of absolute weights, added to the loss; biases are never penalised.
        l2: Weight of the sum of squared weights, added to the loss; biases are never penalised.
        standardize: Whether to standardise inputs and targets inside the net, from the training rows.
    """

    def __init__(
        self,
        in_shape: tuple[int, ...],
        out_features: int,
        net: Callable[[tuple[int, ...], int], Net] = Linear,
        loss: Callable[[], nn.modules.loss._Loss] = nn.MSELoss,
        l1: float = 0.0,
        l2: float = 0.0,
        standardize: bool = True,
    ) -> None:
        criterion = loss()
        if getattr(criterion, "reduction", "mean") != "mean":
            raise UserError("--model.loss: reduction must be mean, so that batches of any size weigh every row alike")
        for flag, value in [("l1", l1), ("l2", l2)]:
            if value < 0:
                raise UserError(f"--model.{flag} is {value}: a penalty is 0 or more")
        metrics = RegressionMetrics(out_features, criterion)
        super().__init__(net(in_shape, out_features), metrics, standardize, column_shape(in_shape), (out_features,))
        self.criterion, self.l1, self.l2 = criterion, l1, l2

    def objective(self, standard: Tensor, y: Tensor) -> Tensor:
        """Loss in standard units plus penalties: outputs (B, out_features), targets (B, out_features) -> scalar."""
        loss = self.criterion(standard, self.net.targets(y))
        return loss + self.penalty() if self.l1 or self.l2 else loss

    def penalty(self) -> Tensor:
        """l1 * sum |w| + l2 * sum w^2 over weights in standard units, biases apart."""
        weights = torch.cat([p.flatten() for p in self.net.parameters() if p.ndim > 1])
        return self.l1 * weights.abs().sum() + self.l2 * weights.square().sum()

    def check_targets(self, outputs: Tensor, y: Tensor) -> None:
        """Raise a ValueError unless outputs and targets have the same shape, which a loss would otherwise broadcast."""
        if outputs.shape != y.shape:
            raise UserError(
                f"targets have shape {tuple(y.shape)} and predictions {tuple(outputs.shape)}: "
                "give targets as (rows, out_features)"
            )

    def on_train_epoch_end(self) -> None:
        """Log the epoch's training metrics, and the penalty apart from the loss."""
        super().on_train_epoch_end()
        if self.l1 or self.l2:
            self.log("train/penalty", self.penalty())

    @property
    def equation(self) -> Equation | None:
        """The learned equation in original units; None unless the net is linear."""
        if not isinstance(self.net.net, Linear):
            return None
        layer, features, targets = self.net.net.linear, self.net.features, self.net.targets
        mean, std = (s.cpu().double().expand(self.net.net.in_shape).flatten() for s in (features.mean, features.std))
        out_mean, out_std = targets.mean.cpu().double(), targets.std.cpu().double()
        weights = layer.weight.detach().cpu().double().T / std[:, None] * out_std
        bias = layer.bias.detach().cpu().double() * out_std + out_mean - mean @ weights
        return Equation(weights, bias)
