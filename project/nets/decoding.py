"""One token of a `GPT` with few operations: in a small net, starting them takes longer than computing them."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu, linear, scaled_dot_product_attention, silu

from project.nets.cache import Cache
from project.nets.gpt import GPT, Block
from project.nets.rms_norm import RMSNorm

Normalise = Callable[[Tensor], Tensor]


class Decoder:
    """Computes the logits of one token after those of a cache, as `GPT.forward` does.

    It has copies of the weights: one product computes queries, keys and values, another one the gate and the
    layer that it multiplies. The weights of an RMSNorm are part of the weights of the layer after it.

    Args:
        net: The network, in evaluation mode.
    """

    def __init__(self, net: GPT) -> None:
        self.net, self.steps = net, [BlockStep(block) for block in net.blocks]  # type: ignore[arg-type]
        self.normalise, self.head, _ = joined(net.norm, [net.head])

    def __call__(self, tokens: Tensor, cache: Cache) -> Tensor:
        """(B, 1) tokens -> (B, 1, vocabulary) logits of the token after each."""
        net, place = self.net, cache.length
        x = net.embedding(tokens[:, 0])  # (B, width)
        if net.positions is not None:
            x = x + net.positions.weight[place]
        rotation = () if net.rotation is None else net.rotation[:, place].unbind()  # (head_width,) each
        for layer, step in enumerate(self.steps):
            x = step(x, rotation, layer, cache)
        cache.length += 1
        return linear(self.normalise(x), self.head)[:, None]


class BlockStep:
    """One token of a `Block`."""

    def __init__(self, block: Block) -> None:
        attention, feeding = block.attention, block.feed_forward
        self.sizes, self.window = (attention.heads, attention.kv_heads, attention.kv_heads), attention.window
        projections = [attention.query, attention.key, attention.value]
        self.norm, self.qkv, self.qkv_bias = joined(block.attention_norm, projections)
        self.qk_norm: Normalise | None = None
        query_norm, key_norm = attention.query_norm, attention.key_norm
        if isinstance(query_norm, RMSNorm) and isinstance(key_norm, RMSNorm):
            self.qk_norm = unit_length(query_norm)
            weights = [query_norm.weight.repeat(attention.heads, 1), key_norm.weight.repeat(attention.kv_heads, 1)]
            self.qk_weight = torch.cat(weights) * attention.head_width**0.5
        self.out, self.down = attention.out, feeding.down
        layers = [feeding.up] if feeding.gate is None else [feeding.gate, feeding.up]
        self.feed_forward_norm, self.up, self.up_bias = joined(block.feed_forward_norm, layers)
        self.kind = feeding.kind

    def __call__(self, x: Tensor, rotation: Sequence[Tensor], layer: int, cache: Cache) -> Tensor:
        """(B, width) -> (B, width)."""
        heads, kv_heads, _ = self.sizes
        qkv = linear(self.norm(x), self.qkv, self.qkv_bias).unflatten(1, (sum(self.sizes), -1))
        qk, v = qkv.split((heads + kv_heads, kv_heads), dim=1)  # (B, heads + kv_heads, head_width), (B, kv_heads, …)
        if self.qk_norm is not None:
            qk = self.qk_norm(qk) * self.qk_weight
        if rotation:
            cos, sin = rotation
            qk = torch.addcmul(qk * cos, qk.roll(len(cos) // 2, dims=2), sin)
        q, k = qk[:, :, None].split((heads, kv_heads), dim=1)  # (B, heads, 1, head_width)
        keys, values = cache.append(layer, k, v[:, :, None])  # (B, kv_heads, S, head_width)
        if self.window is not None:
            keys, values = keys[:, :, -self.window :], values[:, :, -self.window :]
        mixed = scaled_dot_product_attention(q, keys, values, enable_gqa=heads > kv_heads)
        x = added(x, mixed.flatten(1), self.out)
        up = linear(self.feed_forward_norm(x), self.up, self.up_bias)  # (B, hidden)
        if self.kind == "swiglu":
            gate, up = up.chunk(2, dim=1)
            return added(x, silu(gate) * up, self.down)
        return added(x, gelu(up, approximate="tanh") if self.kind == "gelu" else up.relu().square(), self.down)


def added(x: Tensor, inputs: Tensor, layer: nn.Linear) -> Tensor:
    """Return x plus the outputs of a layer."""
    return torch.addmm(x if layer.bias is None else x + layer.bias, inputs, layer.weight.t())


def joined(norm: nn.Module, layers: Sequence[nn.Linear]) -> tuple[Normalise, Tensor, Tensor | None]:
    """Return what normalises the inputs of layers, and their weights and biases as those of one layer."""
    weight = torch.cat([layer.weight for layer in layers])
    bias = None if layers[0].bias is None else torch.cat([layer.bias for layer in layers])
    if isinstance(norm, RMSNorm):
        return unit_length(norm), weight * (norm.weight * len(norm.weight) ** 0.5), bias
    return norm, weight, bias


def unit_length(norm: RMSNorm) -> Normalise:
    """Return what divides x (…, n) by its length: an RMSNorm without its weights and √n, in three operations."""
    smallest = norm.weight.new_tensor((len(norm.weight) * (norm.eps or 0.0)) ** 0.5)
    return lambda x: x / torch.hypot(torch.linalg.vector_norm(x, dim=-1, keepdim=True), smallest)
