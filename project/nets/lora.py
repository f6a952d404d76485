"""Low-rank adapters: learn another task while the original weights stay frozen."""

import torch
from torch import Tensor, nn
from torch.func import functional_call

from project.nets.net import NORMS, Net, NetFactory, as_key, within
from project.nets.plain import build

ADAPTED = (nn.Linear, nn.RNNBase, nn.MultiheadAttention, nn.modules.conv._ConvNd)


class LoRA(Net):
    """A net whose weight matrices W are W + alpha / rank * B A, with A and B learned and W frozen.

    The weights of linear, convolutional, recurrent and attention layers of the backbone are adapted; the head is
    trained in full; everything else is frozen, including the statistics of batch norm. B starts at zero, so the outputs
    start as those of the original net.

    Source: Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models" (2021).

    Args:
        net: The net to adapt.
        levels: Number of levels of each column of a table; set by the data, as in `project.nets.plain.build`.
        rank: Rows of A and columns of B.
        alpha: Scale of the adapters, relative to rank.
    """

    def __init__(
        self,
        in_shape: tuple[int, ...],
        out_features: int,
        net: NetFactory,
        levels: list[int] | None = None,
        rank: int = 4,
        alpha: float = 32.0,
    ) -> None:
        super().__init__(in_shape, out_features)
        if rank < 1:
            raise ValueError(f"LoRA: rank must be 1 or more, got {rank}")
        self.net, self.scale = build(net, in_shape, out_features, levels), alpha / rank
        self.takes_tokens, self.scales_inputs = self.net.takes_tokens, self.net.scales_inputs
        self.adapted = [name for name in matrices(self.net) if not within(name, self.net.head_names())]
        if not self.adapted:
            raise ValueError(
                f"LoRA: {type(self.net).__name__} has no linear, convolutional, recurrent or attention layer before "
                "its head; fine-tune it without LoRA"
            )
        self.down, self.up = nn.ParameterDict(), nn.ParameterDict()
        for name in self.adapted:
            height, width = self.net.get_parameter(name).flatten(1).shape
            self.down[as_key(name)] = nn.Parameter(torch.empty(rank, width).uniform_(-(width**-0.5), width**-0.5))
            self.up[as_key(name)] = nn.Parameter(torch.zeros(height, rank))
        for name, parameter in self.net.named_parameters():
            parameter.requires_grad_(within(name, self.net.head_names()))
        self.train()

    def forward(self, x: Tensor) -> Tensor:
        """(B, *in_shape) -> (B, out_features)."""
        return functional_call(self.net, {name: self.weight(name) for name in self.adapted}, (x,))

    def weight(self, name: str) -> Tensor:
        """Return a weight with its adapter added."""
        weight, key = self.net.get_parameter(name), as_key(name)
        return weight + self.scale * (self.up[key] @ self.down[key]).view_as(weight)

    def accepts(self, shape: tuple[int, ...]) -> bool:
        """Whether the adapted net accepts the shape."""
        return self.net.accepts(shape)

    def head_names(self) -> list[str]:
        """Return what is trained: the head and the adapters."""
        return [*(f"net.{name}" for name in self.net.head_names()), "down", "up"]

    def train(self, mode: bool = True) -> "LoRA":
        """Set the mode, but keep frozen norms in evaluation mode, so that their statistics do not change."""
        super().train(mode)
        for module in self.net.modules():
            if isinstance(module, NORMS):
                module.eval()
        return self

    @torch.no_grad()
    def merge(self) -> Net:
        """Add the adapters to the weights of the net, and return it; this module must not be used afterwards."""
        for name in self.adapted:
            self.net.get_parameter(name).copy_(self.weight(name))
        return self.net.requires_grad_()


def matrices(net: nn.Module) -> list[str]:
    """Return the names of the weights of linear, convolutional, recurrent and attention layers, without biases."""
    return [
        f"{name}.{part}".lstrip(".")
        for name, module in net.named_modules()
        if isinstance(module, ADAPTED)
        for part, parameter in module.named_parameters(recurse=False)
        if parameter.ndim > 1
    ]
