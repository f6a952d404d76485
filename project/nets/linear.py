"""The linear model: y = x W + b."""

from math import prod

from torch import Tensor, nn

from project.nets.net import Net


class Linear(Net):
    """One linear layer over all features of a row.

    Weights start at zero. This is fine because the problem is convex, and it keeps weights at zero that the rows do not
    determine, such as that of a constant feature.
    """

    def __init__(self, in_shape: tuple[int, ...], out_features: int) -> None:
        super().__init__(in_shape, out_features)
        self.linear = nn.Linear(prod(in_shape), out_features)
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    def forward(self, x: Tensor) -> Tensor:
        """(B, *in_shape) -> (B, out_features)."""
        return self.linear(x.flatten(1))
