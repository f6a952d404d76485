"""Low-rank adapters: another task learned beside weights that stay as they are."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.func import functional_call

from project.nets.net import NORMS, Net, within

ADAPTED = (nn.Linear, nn.RNNBase, nn.MultiheadAttention, nn.modules.conv._ConvNd)


class LoRA(Net):
    """A net whose weight matrices W are W + alpha / rank * B A, with A and B learned and W frozen.

    Adapted are the weights of linear, convolutional, recurrent and attention layers of the backbone; the head is
    trained as a whole; everything else is frozen, statistics of batch norm included. B starts at zero, so that the net
    starts as the one that it adapts.

    Source: Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models" (2021).

    Args:
        in_shape: Shape of one row of x.
        out_features: Number of outputs.
        net: The net that is adapted.
        rank: Rows of A and columns of B.
        alpha: Weight of what is learned, in units of rank.

    Raises:
        ValueError: If rank is below 1, or the net has nothing to adapt.
    """

    def __init__(
        self,
        in_shape: tuple[int, ...],
        out_features: int,
        net: Callable[[tuple[int, ...], int], Net],
        rank: int = 4,
        alpha: float = 32.0,
    ) -> None:
        super().__init__(in_shape, out_features)
        if rank < 1:
            raise ValueError(f"LoRA: rank {rank} must be 1 or more")
        self.net, self.scale = net(in_shape, out_features), alpha / rank
        self.adapted = [name for name in matrices(self.net) if not within(name, self.net.head_names())]
        if not self.adapted:
            raise ValueError(
                f"LoRA: {type(self.net).__name__} has no linear, convolutional, recurrent or attention layer apart "
                "from its head: fine-tune it without"
            )
        self.down, self.up = nn.ParameterDict(), nn.ParameterDict()
        for name in self.adapted:
            height, width = self.net.get_parameter(name).flatten(1).shape
            bound = width**-0.5
            self.down[_key(name)] = nn.Parameter(torch.empty(rank, width).uniform_(-bound, bound))
            self.up[_key(name)] = nn.Parameter(torch.zeros(height, rank))
        for name, parameter in self.net.named_parameters():
            parameter.requires_grad_(within(name, self.net.head_names()))
        self.train()

    def forward(self, x: Tensor) -> Tensor:
        """(B, *in_shape) -> (B, out_features)."""
        return functional_call(self.net, {name: self.weight(name) for name in self.adapted}, (x,))

    def weight(self, name: str) -> Tensor:
        """A weight with what has been learned."""
        weight, key = self.net.get_parameter(name), _key(name)
        return weight + self.scale * (self.up[key] @ self.down[key]).view_as(weight)

    def accepts(self, shape: tuple[int, ...]) -> bool:
        """As the net that is adapted."""
        return self.net.accepts(shape)

    def head_names(self) -> list[str]:
        """What is trained: the head, and the adapters."""
        return [*(f"net.{name}" for name in self.net.head_names()), "down", "up"]

    def train(self, mode: bool = True) -> "LoRA":
        """Frozen batch norms keep their statistics, and normalise by them in training, too."""
        super().train(mode)
        for module in self.net.modules():
            if isinstance(module, NORMS):
                module.eval()
        return self

    @torch.no_grad()
    def merge(self) -> Net:
        """The net with what has been learned in its weights; this one is of no use afterwards."""
        for name in self.adapted:
            self.net.get_parameter(name).copy_(self.weight(name))
        return self.net.requires_grad_()


def matrices(net: nn.Module) -> list[str]:
    """Names of the weights of linear, convolutional, recurrent and attention layers, without biases."""
    return [
        f"{name}.{part}".lstrip(".")
        for name, module in net.named_modules()
        if isinstance(module, ADAPTED)
        for part, parameter in module.named_parameters(recurse=False)
        if parameter.ndim > 1
    ]


def _key(name: str) -> str:
    return name.replace(".", "/")  # names of parameters have no dots
