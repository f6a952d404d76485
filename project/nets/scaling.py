"""Standardisation inside the network: checkpoints and exported files take raw values and return target units."""

from typing import Any

import torch
from torch import Tensor, nn

from project.nets.net import Net
from project.nets.one_hot import OneHot


def column_shape(row_shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return the shape of the statistics, which broadcasts over rows: per column of a table, otherwise per channel."""
    return row_shape if len(row_shape) < 2 else row_shape[-1:] if len(row_shape) == 2 else (row_shape[0], 1, 1)


class Standardize(nn.Module):
    """Compute (x - mean) / std with the statistics in buffers; it is the identity until `fill` is called."""

    mean: Tensor
    std: Tensor

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(shape))
        self.register_buffer("std", torch.ones(shape))

    def fill(self, mean: Tensor, std: Tensor) -> None:
        """Set the statistics, of shape `shape` and any dtype."""
        self.mean.copy_(mean)
        self.std.copy_(std)

    def forward(self, x: Tensor, overwrite: bool = False) -> Tensor:
        """Convert (B, *row_shape) to standard units; `overwrite` works in place, which is faster for large x."""
        return (x.sub_(self.mean) if overwrite else x - self.mean).div_(self.std)

    def inverse(self, x: Tensor) -> Tensor:
        """Convert standard units to original units, in float32 even if x has lower precision."""
        return x * self.std + self.mean


class Standardized(nn.Module):
    """A net in standard units with standardisation before it and its inverse after it.

    The inputs are not standardised if they are tokens, or if the net scales its inputs itself.

    Args:
        net: The net.
        feature_shape: Shape of the statistics of x.
        target_shape: Shape of the statistics of y; `()` leaves the outputs unscaled.
        one_hot: Replaces the codes of categories in x before the standardisation.
        log_link: Whether the outputs are the exponential of the net's. The target statistics are then those of the
            logarithm, and the loss is that of a rate.
        log_target: The same as `log_link`, but the loss compares logarithms.

    Raises:
        ValueError: From `inputs` and `forward`, if the net does not accept rows of the shape of x.
    """

    def __init__(
        self,
        net: Net,
        feature_shape: tuple[int, ...],
        target_shape: tuple[int, ...],
        one_hot: OneHot | None = None,
        log_link: bool = False,
        log_target: bool = False,
    ) -> None:
        super().__init__()
        self.net = net
        self.one_hot, self.log_link, self.log_target = one_hot, log_link or log_target, log_target
        self.features = Standardize(() if net.takes_tokens or net.scales_inputs else feature_shape)
        self.targets = Standardize(target_shape)

    @property
    def in_shape(self) -> tuple[int, ...]:
        """Shape of one row of x."""
        return self.net.in_shape if self.one_hot is None else (len(self.one_hot.sizes),)

    def accepts(self, shape: tuple[int, ...]) -> bool:
        """Whether rows of x may have a shape."""
        return self.net.accepts(shape) if self.one_hot is None else shape == self.in_shape

    def forward(self, x: Tensor) -> Tensor:
        """x (B, *in_shape) in original units -> (B, out_features) in target units."""
        return self.original(self.standard(x))

    def original(self, standard: Tensor) -> Tensor:
        """Convert outputs (B, out_features) from standard units to target units."""
        outputs = self.targets.inverse(standard) if self.targets.mean.ndim else standard
        return outputs.exp() if self.log_link else outputs

    def standard_targets(self, y: Tensor) -> Tensor:
        """Convert targets (B, out_features) from target units to standard units, in which the loss compares them.

        Counts are divided by their mean rate, which only multiplies the loss of a log rate by a factor.
        """
        if self.log_target:
            return self.targets(y.log())
        if self.log_link:
            return y / self.targets.mean.exp()
        return self.targets(y) if self.targets.mean.ndim else y

    def standard_outputs(self, outputs: Tensor) -> Tensor:
        """Convert outputs (B, out_features) from target units to outputs of the net, the inverse of `original`."""
        if self.log_link:
            return self.targets(outputs.clamp(min=torch.finfo(outputs.dtype).tiny).log())
        return self.standard_targets(outputs)

    def standard(self, x: Tensor) -> Tensor:
        """x (B, *in_shape) in original units -> (B, out_features) in standard units."""
        return self.net(self.inputs(x))

    def spread(self, x: Tensor) -> Tensor:
        """Compute the standard deviation over the members of an `Ensemble`, of outputs or of probabilities.

        x (B, *in_shape) in original units -> (B, out_features) in target units, or of probabilities.
        """
        ensemble: Any = self.net
        if self.log_link:
            return self.original(ensemble.each(self.inputs(x))).std(0, correction=0)
        return ensemble.spread(self.inputs(x)) * self.targets.std

    def inputs(self, x: Tensor, overwrite: bool = False) -> Tensor:
        """x (B, *in_shape) in original units -> the input of the net in standard units, (B, *net.in_shape)."""
        if not self.accepts(tuple(x.shape[1:])):
            raise ValueError(
                f"{type(self.net).__name__}: rows must have shape {self.in_shape}, got {tuple(x.shape[1:])}"
            )
        if self.net.takes_tokens:
            if x.is_floating_point():
                raise ValueError(f"{type(self.net).__name__}: rows must be tokens, int64; use --data TextDataModule")
            return x
        if self.one_hot is not None:
            x = self.one_hot(x)
        return self.features(x, overwrite)
