"""Regression: the outputs of the net are numbers in target units."""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

from torch import Tensor, nn
from torchmetrics import Metric

from project.models.hyperparameters import factory
from project.models.losses import number_loss
from project.models.metrics import RegressionMetrics
from project.models.quantiles import PinballLoss, ShareBelow
from project.models.step_graph import is_capturing
from project.models.supervised import Supervised
from project.nets.linear import Linear
from project.nets.net import NetFactory
from project.nets.one_hot import one_hot
from project.nets.plain import build
from project.runtime.errors import UserError


class Equation(NamedTuple):
    """The equation y = x @ weights + bias in original units, float64.

    Attributes:
        weights: Shape (in_features, out_features).
        bias: Shape (out_features,).
    """

    weights: Tensor
    bias: Tensor


class Regression(Supervised):
    """Train a regression model.

    The loss is minimised in standard units, so that good learning rates do not depend on the units of the data, and
    logged in target units.

    Args:
        in_shape: Shape of one row of x; set by the data.
        out_features: Number of targets; set by the data.
        net: The network, or a callable that builds it from the sizes of the data; see `project.nets.plain.build`.
        loss: A loss for numbers that averages over rows, such as those of `torch.nn`. With `PoissonNLLLoss`, targets
            are counts, and the net computes the logarithm of their rate.
        log_target: Whether the net computes the logarithm of the targets, which must be above 0. The loss compares
            logarithms, so it measures relative errors. Predictions are in target units, and estimate medians rather
            than means.
        levels: For each column of x, the number of levels if it is a category, otherwise 0; set by the data.
        **kwargs: Arguments of `Supervised`: `standardize`, `l1`, `l2`, `compile`, `cuda_graph`, `optimizer`,
            `lr_scheduler` and `lr_interval`.

    Raises:
        UserError: If the loss is not for numbers, or `log_target` is used with `PoissonNLLLoss`.
    """

    def __init__(
        self,
        in_shape: tuple[int, ...],
        out_features: int,
        net: NetFactory = Linear,  # type: ignore[assignment]
        loss: Callable[[], nn.modules.loss._Loss] = nn.MSELoss,
        log_target: bool = False,
        levels: list[int] | None = None,
        **kwargs: Any,
    ) -> None:
        criterion = number_loss(loss)
        metrics: dict[str, Metric] = {"regression": RegressionMetrics(out_features)}
        if isinstance(criterion, PinballLoss):
            metrics["share_below"] = ShareBelow()
        before, shape = one_hot(in_shape, levels)
        built, is_rate = build(factory(net), shape, out_features, levels), isinstance(criterion, nn.PoissonNLLLoss)
        if is_rate and log_target:
            raise UserError("--model.log_target: with PoissonNLLLoss, the net already computes a logarithm; remove it")
        link: Literal["rate", "target"] | None = "rate" if is_rate else "target" if log_target else None
        super().__init__(built, criterion, metrics, (out_features,), one_hot=before, log_link=link, **kwargs)

    def check_targets(self, outputs: Tensor, y: Tensor) -> None:
        """Raise a UserError unless outputs and targets have the same shape, since a loss would broadcast them."""
        if outputs.shape != y.shape:
            raise UserError(
                f"targets have shape {tuple(y.shape)}, predictions {tuple(outputs.shape)}; the data must have targets "
                "(rows, out_features), or use --model Classification for classes"
            )
        if self.net.log_link and not self.net.log_target and not is_capturing() and (y < 0).any():
            raise UserError("--model.loss PoissonNLLLoss: targets must be counts, 0 or more; use another loss")

    @property
    def equation(self) -> Equation | None:
        """The learned equation in original units; None if the net is not `Linear`, or computes a logarithm."""
        if not isinstance(self.net.net, Linear) or self.net.log_link:
            return None
        layer, features, targets = self.net.net.linear, self.net.features, self.net.targets
        mean, std = (s.cpu().double().expand(self.net.net.in_shape).flatten() for s in (features.mean, features.std))
        out_mean, out_std = targets.mean.cpu().double(), targets.std.cpu().double()
        weights = layer.weight.detach().cpu().double().T / std[:, None] * out_std
        bias = layer.bias.detach().cpu().double() * out_std + out_mean - mean @ weights
        return Equation(weights, bias)
