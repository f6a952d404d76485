"""Low-rank adapters, which learn another task while the original weights stay frozen."""

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.functional import linear

from project.nets.gpt import GPT
from project.nets.net import NORMS, Net, NetFactory, as_key, within
from project.nets.plain import build
from project.nets.quantized import Bits, QuantizedLinear, dequantize_layers, quantize_layers

ADAPTED = (nn.Linear, nn.RNNBase, nn.MultiheadAttention, nn.modules.conv._ConvNd)


class LoRA(Net):
    """A net whose weight matrices W become W + alpha / rank * B A, with A and B trained and W frozen.

    Linear, convolutional, recurrent and attention layers of the backbone are adapted. The head is trained in full; that
    of a language model, whose vocabulary stays the same, is adapted like the backbone. Everything else is frozen,
    including embeddings, a head that shares their weights, and the statistics of batch norms. B starts at zero, so the
    outputs start as those of the original net.

    Source: Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models" (2021).

    Args:
        net: The net to adapt.
        levels: Number of levels of each column of a table; set by the data, see `project.nets.plain.build`.
        rank: Number of rows of A and of columns of B.
        alpha: Scale of the adapters; it is divided by `rank`.
        only: Suffixes of the names of the layers to adapt, such as `query` and `value`; by default all.
        bits: Bits per weight, 8 or 4, to quantize the frozen weights of the blocks of a `GPT`; by default none.
    """

    def __init__(
        self,
        in_shape: tuple[int, ...],
        out_features: int,
        net: NetFactory,
        levels: list[int] | None = None,
        rank: int = 4,
        alpha: float = 32.0,
        only: list[str] | None = None,
        bits: Bits | None = None,
    ) -> None:
        super().__init__(in_shape, out_features)
        if rank < 1:
            raise ValueError(f"LoRA: rank must be 1 or more, got {rank}")
        self.net, self.scale = build(net, in_shape, out_features, levels), alpha / rank
        self.takes_tokens, self.scales_inputs = self.net.takes_tokens, self.net.scales_inputs
        full = [] if self.takes_tokens else self.net.head_names()
        own = dict(self.net.named_parameters())  # without a head that has the weights of an embedding
        self.adapted = [name for name in matrices(self.net) if name in own and not within(name, full)]
        if only is not None:
            self.adapted = [name for name in self.adapted if name.rpartition(".")[0].endswith(tuple(only))]
        if not self.adapted and only is not None:
            raise ValueError(f"LoRA: no layer's name ends with one of only, {', '.join(only)}")
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
            parameter.requires_grad_(within(name, full))
        self.full = full
        if bits is not None:
            name = type(self.net).__name__
            self.require(isinstance(self.net, GPT), f"bits are for a GPT, not for {name}; leave them out")
            quantize_layers(self.net.get_submodule("blocks"), bits)
        # For linear layers of a GPT, hooks add the output of the adapter, because the products B A would need as much
        # memory as all weights. Other nets may use the weights of a layer without calling it, so theirs are replaced.
        owners = {name: self.net.get_submodule(name.rpartition(".")[0]) for name in self.adapted}
        owners = {
            name: module
            for name, module in owners.items()
            if isinstance(self.net, GPT) and type(module) in (nn.Linear, QuantizedLinear)
        }
        self.merged = [name for name in self.adapted if name not in owners]
        self._hooks = [
            module.register_forward_hook(partial(self._add, as_key(name))) for name, module in owners.items()
        ]
        self.register_load_state_dict_pre_hook(without_adapted_head)
        self.train()

    def forward(self, x: Tensor, **options: Any) -> Tensor:
        """(B, *in_shape) -> (B, out_features), or what the net returns with options."""
        return functional_call(self.net, {name: self.weight(name) for name in self.merged}, (x,), options)

    def _add(self, key: str, module: nn.Module, inputs: tuple[Tensor], outputs: Tensor) -> Tensor:
        """Add the output of the adapter, for inputs (…, width), to the outputs (…, height) of a linear layer."""
        change = linear(inputs[0], self.down[key]).flatten(0, -2)  # (…, rank)
        up = self.up[key].T.to(outputs.dtype)  # of lower precision under autocast
        outputs.flatten(0, -2).addmm_(change, up, alpha=self.scale)
        return outputs

    def weight(self, name: str) -> Tensor:
        """Return a weight with its adapter added."""
        module, _, part = name.rpartition(".")
        weight, key = getattr(self.net.get_submodule(module), part), as_key(name)
        return weight + self.scale * (self.up[key] @ self.down[key]).view_as(weight)

    def accepts(self, shape: tuple[int, ...]) -> bool:
        """Whether the adapted net accepts the shape."""
        return self.net.accepts(shape)

    def head_names(self) -> list[str]:
        """Return the names of the trained parameters: those of the head and the adapters."""
        return [*(f"net.{name}" for name in self.full), "down", "up"]

    def train(self, mode: bool = True) -> "LoRA":
        """Set the mode, but keep norms in evaluation mode so that their statistics do not change."""
        super().train(mode)
        for module in self.net.modules():
            if isinstance(module, NORMS):
                module.eval()
        return self

    @torch.no_grad()
    def merge(self) -> Net:
        """Add the adapters to the weights of the net, and return the net. Do not use this module afterwards."""
        dequantize_layers(self.net)
        for name in self.adapted:
            self.net.get_parameter(name).copy_(self.weight(name))
        for hook in self._hooks:
            hook.remove()
        return self.net.requires_grad_()


def without_adapted_head(lora: nn.Module, state: dict[str, Tensor], prefix: str, *_: Any) -> None:
    """Add zero adapters of the head to weights of earlier versions, which did not adapt the head of language models."""
    heads = lora.net.head_names() if isinstance(lora, LoRA) else []
    for name in (name for name in getattr(lora, "adapted", []) if within(name, heads)):
        for part in ("down", "up"):
            key = f"{part}.{as_key(name)}"
            state.setdefault(prefix + key, torch.zeros_like(lora.get_parameter(key)))


def matrices(net: nn.Module) -> list[str]:
    """Return the names of the weights of linear, convolutional, recurrent and attention layers, without biases."""
    return [
        f"{name}.{part}".lstrip(".")
        for name, module in net.named_modules()
        if isinstance(module, ADAPTED)
        for part, parameter in module.named_parameters(recurse=False)
        if parameter.ndim > 1
    ]
