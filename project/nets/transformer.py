"""Transformers for sequences: an encoder, and an encoder-decoder to forecast several steps.

Sources: Vaswani et al., "Attention Is All You Need" (2017); normalisation before each sublayer, Xiong et al., "On Layer
Normalization in the Transformer Architecture" (2020).
"""

import math
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from project.nets.net import SequenceNet


class Attention(nn.Module):
    """Multi-head attention with PyTorch's fused kernel; if causal, a token attends only to itself and earlier ones."""

    def __init__(self, width: int, heads: int, causal: bool = False) -> None:
        super().__init__()
        self.heads, self.causal = heads, causal
        self.query, self.key, self.value, self.out = (nn.Linear(width, width) for _ in range(4))

    def forward(self, x: Tensor, memory: Tensor) -> Tensor:
        """Tokens x (B, T, width) attend to memory (B, S, width) -> (B, T, width)."""
        q, k, v = (
            part.unflatten(2, (self.heads, -1)).transpose(1, 2)  # (B, heads, T or S, width / heads)
            for part in (self.query(x), self.key(memory), self.value(memory))
        )
        mixed = scaled_dot_product_attention(q, k, v, is_causal=self.causal)
        return self.out(mixed.transpose(1, 2).flatten(2))  # (B, T, width)


class Block(nn.Module):
    """Self-attention, cross-attention (in a decoder) and a feed-forward net, each with norm and residual connection."""

    def __init__(self, width: int, heads: int, causal: bool, dropout: float, decoder: bool = False) -> None:
        super().__init__()
        self.norm, self.attention = nn.LayerNorm(width), Attention(width, heads, causal)
        self.cross_norm = nn.LayerNorm(width) if decoder else None
        self.cross_attention = Attention(width, heads) if decoder else None
        self.feed_forward = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
        )
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, memory: Tensor | None = None) -> Tensor:
        """x (B, T, width), memory (B, S, width) in a decoder -> (B, T, width)."""
        normed = self.norm(x)
        x = x + self.dropout(self.attention(normed, normed))
        if self.cross_norm is not None and self.cross_attention is not None and memory is not None:
            x = x + self.dropout(self.cross_attention(self.cross_norm(x), memory))
        return x + self.dropout(self.feed_forward(x))


def positions(start: int, length: int, width: int, like: Tensor) -> Tensor:
    """Return the sinusoidal encoding of the positions start, start + 1, …, (length, width)."""
    position = torch.arange(start, start + length, device=like.device)[:, None]  # (length, 1)
    # In float64: at large positions, the last bit of a float32 exponential matters, and it depends on the library.
    dtype = torch.float32 if like.device.type == "mps" else torch.float64  # Apple's GPUs have no float64
    wave = (torch.arange(0, width, 2, dtype=dtype, device=like.device) * -math.log(10_000.0) / width).exp().float()
    angle = position * wave  # (length, ceil(width / 2))
    return torch.stack([angle.sin(), angle.cos()], dim=2).flatten(1)[:, :width].to(like.dtype)


class Transformer(SequenceNet):
    """An encoder for sequences of any length, then a linear layer.

    Args:
        width: Width of the tokens.
        heads: Number of attention heads; must divide `width`.
        layers: Number of blocks.
        causal: Whether a token attends only to itself and earlier tokens. If so, the outputs are computed from the last
            token, otherwise from the mean over all tokens.
        dropout: Dropout probability.
    """

    def __init__(
        self,
        in_shape: tuple[int, ...],
        out_features: int,
        width: int = 32,
        heads: int = 4,
        layers: int = 2,
        causal: bool = True,
        dropout: float = 0.0,
    ) -> None:
        super().__init__(in_shape, out_features)
        sizes = f"width {width}, heads {heads} and layers {layers}"
        self.require(min(width, heads, layers) > 0, f"{sizes} must be 1 or more")
        self.require(width % heads == 0, f"{sizes}: width must be a multiple of heads")
        self.causal = causal
        self.embedding = nn.Linear(in_shape[1], width)
        self.block = partial(Block, width, heads, dropout=dropout)
        self.blocks = nn.ModuleList(self.block(causal=causal) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, out_features)

    def encode(self, x: Tensor) -> Tensor:
        """(B, time, channels) -> tokens (B, time, width)."""
        tokens = self.embedding(x)
        tokens = tokens + positions(0, x.shape[1], tokens.shape[2], tokens)
        for block in self.blocks:
            tokens = block(tokens)
        return self.norm(tokens)

    def forward(self, x: Tensor) -> Tensor:
        """(B, time, channels) -> (B, out_features)."""
        tokens = self.encode(x)
        return self.head(tokens[:, -1] if self.causal else tokens.mean(1))  # (B, width) -> (B, out)


class EncoderDecoder(Transformer):
    """An encoder and a decoder with one token per output, which forecasts several steps at once.

    Args:
        causal: Whether an encoder token attends only to itself and earlier tokens.
        **options: Arguments of `Transformer`; the decoder has as many blocks as the encoder.
    """

    def __init__(self, in_shape: tuple[int, ...], out_features: int, *, causal: bool = False, **options: Any) -> None:
        super().__init__(in_shape, out_features, causal=causal, **options)
        width = self.embedding.out_features
        self.queries = nn.Parameter(0.02 * torch.randn(out_features, width))
        self.decoder = nn.ModuleList(self.block(causal=False, decoder=True) for _ in self.blocks)
        self.out_norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, time, channels) -> (B, out_features)."""
        memory = self.encode(x)  # (B, time, width)
        following = positions(x.shape[1], self.out_features, memory.shape[2], memory)
        tokens = (self.queries + following).expand(x.shape[0], -1, -1)  # (B, out, width)
        for block in self.decoder:
            tokens = block(tokens, memory)
        return self.head(self.out_norm(tokens)).squeeze(2)  # (B, out, 1) -> (B, out)

    def head_names(self) -> list[str]:
        """Return the tokens of the outputs, and the layer that converts them to numbers."""
        return ["queries", "head"]
