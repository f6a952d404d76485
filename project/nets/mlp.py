"""A multilayer perceptron."""

from math import prod
from typing import Literal

from torch import Tensor, nn

from project.nets.net import Net

Activation = Literal["ReLU", "GELU", "SiLU", "Tanh"]


class MLP(Net):
    """Linear layers with activations between them, over all features of a row.

    Args:
        hidden: Width of each hidden layer.
        activation: Name of a class in `torch.nn`.
        dropout: Dropout probability after each hidden layer.
    """

    def __init__(
        self,
        in_shape: tuple[int, ...],
        out_features: int,
        hidden: list[int] | None = None,
        activation: Activation = "ReLU",
        dropout: float = 0.0,
    ) -> None:
        super().__init__(in_shape, out_features)
        hidden = [64, 64] if hidden is None else hidden
        self.require(min(hidden, default=1) > 0, f"hidden must be 1 or more, got {hidden}")
        self.require(0 <= dropout < 1, f"dropout must be in [0, 1), got {dropout}")
        self.layers = nn.Sequential(nn.Flatten())
        for width, next_width in zip([prod(in_shape), *hidden[:-1]], hidden, strict=False):
            self.layers.extend([nn.Linear(width, next_width), getattr(nn, activation)(), nn.Dropout(dropout)])
        self.head = nn.Linear(hidden[-1] if hidden else prod(in_shape), out_features)

    def forward(self, x: Tensor) -> Tensor:
        """(B, *in_shape) -> (B, out_features)."""
        return self.head(self.layers(x))  # (B, hidden[-1]) -> (B, out)
