"""A decoder-only Transformer: the network of language models, from GPT-2's family to today's.

Sources: Radford et al., "Language Models are Unsupervised Multitask Learners" (2019); rotary positions, Su et al.,
"RoFormer" (2021); RMSNorm, Zhang & Sennrich (2019); gated feed-forward, Shazeer, "GLU Variants Improve Transformer"
(2020); ReLU², So et al., "Primer" (2021); grouped heads, Ainslie et al., "GQA" (2023); normalised queries and keys,
Henry et al., "Query-Key Normalization for Transformers" (2020).
"""

from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu, rms_norm, scaled_dot_product_attention, silu
from torch.utils.checkpoint import checkpoint

from project.nets.net import Net

FeedForwardKind = Literal["relu2", "swiglu", "gelu"]


class RMSNorm(nn.RMSNorm):
    """`torch.nn.RMSNorm` whose kernel stays fused under autocast, which leaves the weight in float32."""

    def forward(self, x: Tensor) -> Tensor:
        """(…, width) -> (…, width)."""
        return rms_norm(x, self.normalized_shape, self.weight.to(x.dtype), self.eps)


class Cache:
    """Keys and values of the tokens so far, so that each new token is computed alone.

    Args:
        net: The network that fills it.
        batch: Number of sequences.

    Attributes:
        length: Number of tokens so far; at most the context of the network.
    """

    def __init__(self, net: "GPT", batch: int = 1) -> None:
        attention: Any = net.blocks[0].get_submodule("attention")
        like, (context,) = net.embedding.weight, net.in_shape
        shape = (len(net.blocks), batch, attention.kv_heads, context, attention.head_width)
        self.keys, self.values = like.new_zeros(shape), like.new_zeros(shape)
        self.length = 0

    def append(self, layer: int, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Add keys and values (B, kv_heads, T, head_width) of a layer; return those of all tokens so far."""
        end = self.length + k.shape[2]
        self.keys[layer, :, :, self.length : end] = k
        self.values[layer, :, :, self.length : end] = v
        return self.keys[layer, :, :, :end], self.values[layer, :, :, :end]


class Attention(nn.Module):
    """Causal self-attention: `heads` queries share `kv_heads` keys and values."""

    def __init__(self, width: int, heads: int, kv_heads: int, bias: bool, qk_norm: bool, dropout: float) -> None:
        super().__init__()
        self.heads, self.kv_heads, self.head_width, self.dropout = heads, kv_heads, width // heads, dropout
        self.query = nn.Linear(width, width, bias)
        self.key, self.value = (nn.Linear(width, kv_heads * self.head_width, bias) for _ in range(2))
        self.query_norm, self.key_norm = (RMSNorm(self.head_width) if qk_norm else nn.Identity() for _ in range(2))
        self.out = nn.Linear(width, width, bias)

    def forward(self, x: Tensor, rotation: Tensor | None, layer: int, cache: Cache | None) -> Tensor:
        """x (B, T, width), rotation (2, T, head_width / 2) -> (B, T, width); tokens of the cache come before x."""
        projected = self.query(x), self.key(x), self.value(x)
        q, k, v = (part.unflatten(2, (-1, self.head_width)).transpose(1, 2) for part in projected)
        q, k = self.query_norm(q), self.key_norm(k)  # (B, heads or kv_heads, T, head_width)
        q, k = (part if rotation is None else rotate(part, rotation) for part in (q, k))
        if cache is not None:
            k, v = cache.append(layer, k, v)  # (B, kv_heads, S, head_width), S = T + tokens before
        k, v = (part.repeat_interleave(self.heads // self.kv_heads, dim=1) for part in (k, v))  # (B, heads, S, …)
        new, total = q.shape[2], k.shape[2]
        mask = None
        if 1 < new < total:  # `is_causal` would align the first new token with the first token of the cache
            mask = torch.ones(new, total, dtype=torch.bool, device=x.device).tril(total - new)
        dropout = self.dropout if self.training else 0.0
        mixed = scaled_dot_product_attention(q, k, v, mask, dropout, is_causal=new == total)
        return self.out(mixed.transpose(1, 2).flatten(2))  # (B, heads, T, head_width) -> (B, T, width)


def rotations(length: int, head_width: int, base: float) -> Tensor:
    """Return cosine and sine of the angle of each position and pair of channels, (2, length, head_width / 2)."""
    # In float64: at far positions, the last bit of a float32 power, which depends on the library, would matter.
    speed = base ** -(torch.arange(0, head_width, 2, dtype=torch.float64) / head_width)  # (head_width / 2,)
    angle = torch.arange(length, dtype=torch.float64)[:, None] * speed
    return torch.stack([angle.cos(), angle.sin()]).float()


def rotate(x: Tensor, rotation: Tensor) -> Tensor:
    """Rotate channels i and i + head_width / 2 of x (B, heads, T, head_width) together, as Hugging Face pairs them."""
    cos, sin = rotation.to(x.dtype)  # (T, head_width / 2) each
    first, second = x.chunk(2, dim=3)
    return torch.cat([first * cos - second * sin, second * cos + first * sin], dim=3)


class FeedForward(nn.Module):
    """Two linear layers with ReLU² or GELU between them, or three with SiLU as a gate (SwiGLU)."""

    def __init__(self, width: int, hidden: int, kind: FeedForwardKind, bias: bool) -> None:
        super().__init__()
        self.kind = kind
        self.up, self.down = nn.Linear(width, hidden, bias), nn.Linear(hidden, width, bias)
        self.gate = nn.Linear(width, hidden, bias) if kind == "swiglu" else None

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, width) -> (B, T, width)."""
        up = self.up(x)  # (B, T, hidden)
        if self.gate is not None:
            return self.down(silu(self.gate(x)) * up)
        return self.down(gelu(up, approximate="tanh") if self.kind == "gelu" else up.relu().square())


class Block(nn.Module):
    """Attention, then feed-forward, each after a norm and added to its input."""

    def __init__(self, norms: list[nn.Module], attention: Attention, feed_forward: FeedForward, dropout: float) -> None:
        super().__init__()
        self.attention_norm, self.attention = norms[0], attention
        self.feed_forward_norm, self.feed_forward = norms[1], feed_forward
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, rotation: Tensor | None, layer: int, cache: Cache | None) -> Tensor:
        """(B, T, width) -> (B, T, width)."""
        x = x + self.dropout(self.attention(self.attention_norm(x), rotation, layer, cache))
        return x + self.dropout(self.feed_forward(self.feed_forward_norm(x)))


class GPT(Net):
    """A language model: logits of each next token, from the tokens up to it.

    The defaults are those of small models of today. GPT-2 is `positions="learned"`, `norm="layer"`, `bias=True`,
    `qk_norm=False`, `feed_forward="gelu"`, `tied=True`; Llama `feed_forward="swiglu"`, `qk_norm=False`.

    Args:
        in_shape: (context,), the largest number of tokens.
        out_features: Number of tokens in the vocabulary.
        width: Width of a token.
        layers: Number of blocks.
        heads: Attention heads; divides width.
        kv_heads: Heads of keys and values; divides heads, by default equal to heads.
        feed_forward: ReLU² or GELU between two layers, or SwiGLU.
        hidden: Width of the feed-forward layer; by default 4 widths, for SwiGLU 8/3 rounded up to a multiple of 16.
        positions: Rotary, or learned.
        norm: RMSNorm, or LayerNorm.
        bias: Whether linear layers and LayerNorm have biases.
        qk_norm: Whether queries and keys are normalised.
        tied: Whether the head has the weights of the embedding.
        dropout: Dropout probability.
        zero_init: Whether each block and the head start at zero: a block as the identity, the head as no opinion.
        rotary_base: Base of the rotary angles.
        norm_eps: Added to the variance in norms.
        checkpoint_activations: Whether to compute activations again in the backward pass, which saves memory.
    """

    takes_tokens = True
    rotation: Tensor | None

    def __init__(
        self,
        in_shape: tuple[int, ...],
        out_features: int,
        width: int = 128,
        layers: int = 4,
        heads: int = 4,
        kv_heads: int | None = None,
        feed_forward: FeedForwardKind = "relu2",
        hidden: int | None = None,
        positions: Literal["rotary", "learned"] = "rotary",
        norm: Literal["rms", "layer"] = "rms",
        bias: bool = False,
        qk_norm: bool = True,
        tied: bool = False,
        dropout: float = 0.0,
        zero_init: bool = True,
        rotary_base: float = 10_000.0,
        norm_eps: float = 1e-5,
        checkpoint_activations: bool = False,
    ) -> None:
        kv_heads = heads if kv_heads is None else kv_heads
        if len(in_shape) != 1:
            raise ValueError(f"GPT: rows must be tokens, got shape {tuple(in_shape)}; use --data TextDataModule")
        if min(*in_shape, width, layers, heads, kv_heads) < 1 or width % heads or heads % kv_heads:
            raise ValueError(
                f"GPT: width {width}, layers {layers}, heads {heads} and kv_heads {kv_heads} must be 1 or more, width "
                "a multiple of heads, and heads of kv_heads"
            )
        if not 0 <= dropout < 1 or (positions == "rotary" and width // heads % 2):
            raise ValueError(f"GPT: dropout {dropout} must be in [0, 1), and width / heads even for rotary positions")
        super().__init__(in_shape, out_features)
        hidden = hidden or (4 * width if feed_forward != "swiglu" else -(-8 * width // 48) * 16)
        new_norm: Any = partial(RMSNorm, width, norm_eps)
        if norm == "layer":
            new_norm = partial(nn.LayerNorm, width, norm_eps, bias=bias)
        self.checkpoint_activations = checkpoint_activations
        self.embedding = nn.Embedding(out_features, width)
        self.positions = nn.Embedding(in_shape[0], width) if positions == "learned" else None
        self.dropout = nn.Dropout(dropout)
        self.blocks = nn.ModuleList()
        for _ in range(layers):
            attention = Attention(width, heads, kv_heads, bias, qk_norm, dropout)
            feeding = FeedForward(width, hidden, feed_forward, bias)
            self.blocks.append(Block([new_norm(), new_norm()], attention, feeding, dropout))
        self.norm = new_norm()
        self.head = nn.Linear(width, out_features, bias=False)
        table = rotations(in_shape[0], width // heads, rotary_base) if positions == "rotary" else None
        self.register_buffer("rotation", table, persistent=False)  # (2, context, head_width / 2)
        self._initialise(zero_init)
        if tied:
            self.head.weight = self.embedding.weight

    def forward(self, x: Tensor, cache: Cache | None = None) -> Tensor:
        """(B, T) tokens, after those of the cache -> (B, T, vocabulary) logits of the token after each."""
        start = cache.length if cache is not None else 0
        place = slice(start, start + x.shape[1])
        x = self.embedding(x)  # (B, T, width)
        if self.positions is not None:
            x = x + self.positions.weight[place]
        x = self.dropout(x)
        rotation = None if self.rotation is None else self.rotation[:, place]  # (2, T, head_width / 2)
        for layer, block in enumerate(self.blocks):
            if self.checkpoint_activations and self.training:
                x = checkpoint(block, x, rotation, layer, cache, use_reentrant=False)
            else:
                x = block(x, rotation, layer, cache)
        if cache is not None:
            cache.length = place.stop
        return self.head(self.norm(x))

    def accepts(self, shape: tuple[int, ...]) -> bool:
        """Whether a shape is 1 to context tokens."""
        return len(shape) == 1 and 1 <= shape[0] <= self.in_shape[0]

    def _initialise(self, zero_init: bool) -> None:
        """Draw weights as GPT-2 does; then either outputs start at zero, or those of blocks are smaller with depth."""
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Embedding):
                nn.init.normal_(module.weight, std=0.02)
            if isinstance(module, nn.Linear) and module.bias is not None:
                nn.init.zeros_(module.bias)
        scale = 0.0 if zero_init else (2 * len(self.blocks)) ** -0.5
        with torch.no_grad():
            for name, parameter in self.blocks.named_parameters():
                if name.endswith(("attention.out.weight", "feed_forward.down.weight")):
                    parameter.mul_(scale)
            self.head.weight.mul_(0.0 if zero_init else 1.0)
