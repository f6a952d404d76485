"""Frozen linear layers whose weights are kept in 8 or 4 bits."""

import math
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.functional import linear, pad

Bits = Literal[8, 4]
BLOCK = 64  # neighbouring weights of a row with one scale, at most
# The values that 4 bits stand for, as parts of a block's scale: quantiles of a normal distribution, and zero.
NORMAL_FLOAT = (
    *(-1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635),
    *(-0.18477343022823334, -0.09105003625154495, 0.0, 0.07958029955625534, 0.16093020141124725),
    *(0.24611230194568634, 0.33791524171829224, 0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0),
)


class QuantizedLinear(nn.Module):
    """A linear layer whose weights are a code of 8 or 4 bits each, and a scale for each block of 64 in a row.

    The weights themselves exist only while a product with them is computed, forwards or backwards. They are not
    trained, and neither is the bias.

    Source: Dettmers et al., "QLoRA: Efficient Finetuning of Quantized LLMs" (2023).

    Args:
        layer: The layer to quantize.
        bits: Bits of a code: 8, an integer from -127 to 127; or 4, the number of one of 16 values ("normal float").
    """

    codes: Tensor
    scales: Tensor

    def __init__(self, layer: nn.Linear, bits: Bits) -> None:
        super().__init__()
        self.bits, self.in_features, self.out_features = bits, layer.in_features, layer.out_features
        codes, scales = quantize(layer.weight.detach(), bits)
        self.register_buffer("codes", codes)  # (out_features * in_features,) int8, or two of them in a byte of uint8
        self.register_buffer("scales", scales)  # (blocks, 1)
        self.bias = layer.bias

    @property
    def weight(self) -> Tensor:
        """The weights (out_features, in_features), computed from their codes."""
        return dequantize(self.codes, self.scales, self.bits).view(self.shape)

    @property
    def shape(self) -> tuple[int, int]:
        """Shape of the weights."""
        return self.out_features, self.in_features

    @torch.no_grad()
    def copy_(self, weight: Tensor) -> None:
        """Quantize other weights (out_features, in_features) in place of the present ones."""
        codes, scales = quantize(weight.to(self.scales), self.bits)
        self.codes.copy_(codes)
        self.scales.copy_(scales)

    def forward(self, x: Tensor) -> Tensor:
        """(…, in_features) -> (…, out_features)."""
        outputs: Tensor = _Product.apply(x, self)
        return outputs if self.bias is None else outputs + self.bias

    def dequantized(self) -> nn.Linear:
        """Return a layer that has the weights as numbers."""
        layer = nn.Linear(self.in_features, self.out_features, self.bias is not None, device="meta")
        layer.weight = nn.Parameter(self.weight)
        if self.bias is not None:
            layer.bias = self.bias
        return layer


def quantize_layers(net: nn.Module, bits: Bits) -> None:
    """Replace the linear layers in a network by quantized ones."""
    for module in [*net.modules()]:
        for name, layer in [*module.named_children()]:
            if type(layer) is nn.Linear:
                setattr(module, name, QuantizedLinear(layer, bits))


def dequantize_layers(net: nn.Module) -> None:
    """Replace the quantized layers in a network by linear ones."""
    for module in [*net.modules()]:
        for name, layer in [*module.named_children()]:
            if isinstance(layer, QuantizedLinear):
                setattr(module, name, layer.dequantized())


class _Product(torch.autograd.Function):
    """x W for frozen weights, which are computed again for the backward pass instead of being kept."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, layer: QuantizedLinear) -> Tensor:
        ctx.layer, ctx.dtype = layer, x.dtype
        return linear(x, layer.weight)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return (gradient @ ctx.layer.weight.to(gradient.dtype)).to(ctx.dtype), None


def quantize(weight: Tensor, bits: Bits) -> tuple[Tensor, Tensor]:
    """Return codes and scales (blocks, 1) of weights (out, in); the largest weight of a block is exact."""
    blocks = weight.reshape(-1, math.gcd(weight.shape[1], BLOCK))
    scales = blocks.abs().amax(1, keepdim=True)
    parts = blocks / scales.clamp(min=torch.finfo(scales.dtype).tiny)  # from -1 to 1
    if bits == 8:
        return (127 * parts).round().to(torch.int8).flatten(), scales
    values = parts.new_tensor(NORMAL_FLOAT)
    codes = torch.bucketize(parts.flatten(), (values[1:] + values[:-1]) / 2).to(torch.uint8)  # the nearest value
    first, second = pad(codes, (0, len(codes) % 2)).view(-1, 2).unbind(1)
    return 16 * first + second, scales


def dequantize(codes: Tensor, scales: Tensor, bits: Bits) -> Tensor:
    """Return the weights of codes and scales (blocks, 1), of shape (blocks, size of a block)."""
    if bits == 8:
        return codes.view(len(scales), -1) * (scales / 127)
    pairs = torch.stack([codes >> 4, codes & 15], dim=1).flatten()
    values = scales.new_tensor(NORMAL_FLOAT)[pairs.int()]
    return values[: len(values) // len(scales) * len(scales)].view(len(scales), -1) * scales
