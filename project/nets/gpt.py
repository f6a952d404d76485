"""A decoder-only Transformer for language models: GPT-2, Llama and similar families.

Sources: Radford et al., "Language Models are Unsupervised Multitask Learners" (2019); rotary positions, Su et al.,
"RoFormer" (2021); RMSNorm, Zhang & Sennrich (2019); gated feed-forward, Shazeer, "GLU Variants Improve Transformer"
(2020); ReLU², So et al., "Primer" (2021); grouped heads, Ainslie et al., "GQA" (2023); normalised queries and keys,
Henry et al., "Query-Key Normalization for Transformers" (2020).
"""

from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu, scaled_dot_product_attention, silu
from torch.utils.checkpoint import checkpoint

from project.nets.cache import Cache
from project.nets.documents import positions_in, within_documents, within_window
from project.nets.net import Net
from project.nets.rms_norm import RMSNorm
from project.nets.rotary import rotate, rotations
from project.nets.token_losses import chunked_losses

FeedForwardKind = Literal["relu2", "swiglu", "gelu"]


class Attention(nn.Module):
    """Causal self-attention to the last `window` tokens; `heads` query heads share `kv_heads` key and value heads."""

    def __init__(
        self,
        width: int,
        heads: int,
        kv_heads: int,
        head_width: int,
        bias: bool,
        qkv_bias: bool,
        qk_eps: float | None,
        window: int | None,
        dropout: float,
    ) -> None:
        super().__init__()
        self.heads, self.kv_heads, self.head_width = heads, kv_heads, head_width
        self.window, self.dropout = window, dropout
        self.query = nn.Linear(width, heads * head_width, qkv_bias)
        self.key, self.value = (nn.Linear(width, kv_heads * head_width, qkv_bias) for _ in range(2))
        norms = (nn.Identity() if qk_eps is None else RMSNorm(head_width, qk_eps) for _ in range(2))
        self.query_norm, self.key_norm = norms
        self.out = nn.Linear(heads * head_width, width, bias)

    def forward(
        self, x: Tensor, rotation: Tensor | None, layer: int, cache: Cache | None, seen: Tensor | None = None
    ) -> Tensor:
        """x (B, T, width), rotation (2, T, head_width) -> (B, T, width). The tokens of the cache precede x.

        `seen` (B, 1, T, T) is True where a token (third dimension) attends to another (fourth); by default, to itself
        and all earlier tokens.
        """
        is_traced = cache is not None and cache.is_traced
        projected = self.query(x), self.key(x), self.value(x)
        q, k, v = (part.view(*x.shape[:2], -1, self.head_width) for part in projected)
        if not is_traced:
            q, k, v = (part.transpose(1, 2) for part in (q, k, v))
        q, k = self.query_norm(q), self.key_norm(k)  # (B, heads or kv_heads, T, head_width)
        if cache is not None and is_traced:
            return self.out(cache.attend(layer, q, k, v, self.window))
        q, k = (part if rotation is None else rotate(part, rotation) for part in (q, k))
        if cache is not None:
            k, v = cache.append(layer, k, v)  # (B, kv_heads, S, head_width), S = T + cached tokens
        if self.kv_heads < self.heads and not x.is_cpu:  # for kernels that know no groups
            k, v = (part.repeat_interleave(self.heads // self.kv_heads, dim=1) for part in (k, v))  # (B, heads, S, …)
        new, total = q.shape[2], k.shape[2]
        # `is_causal` would align the first new token with the first token of the cache.
        if seen is None and (1 < new < total or (self.window is not None and total > self.window)):
            seen = within_window(new, total, self.window, x.device)
        dropout = self.dropout if self.training else 0.0
        causal, grouped = seen is None and new == total, k.shape[1] < self.heads
        mixed = scaled_dot_product_attention(q, k, v, seen, dropout, causal, enable_gqa=grouped)
        return self.out(mixed.transpose(1, 2).flatten(2))  # (B, heads, T, head_width) -> (B, T, width)


class FeedForward(nn.Module):
    """Two linear layers with ReLU² or GELU between them, or three linear layers with a SiLU gate (SwiGLU)."""

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
    """Attention, then a feed-forward net, each with a norm before it and a residual connection."""

    def __init__(self, norms: list[nn.Module], attention: Attention, feed_forward: FeedForward, dropout: float) -> None:
        super().__init__()
        self.attention_norm, self.attention = norms[0], attention
        self.feed_forward_norm, self.feed_forward = norms[1], feed_forward
        self.dropout = nn.Dropout(dropout) if dropout else nn.Identity()

    def forward(
        self, x: Tensor, rotation: Tensor | None, layer: int, cache: Cache | None, seen: Tensor | None = None
    ) -> Tensor:
        """(B, T, width) -> (B, T, width)."""
        x = x + self.dropout(self.attention(self.attention_norm(x), rotation, layer, cache, seen))
        return x + self.dropout(self.feed_forward(self.feed_forward_norm(x)))


class GPT(Net):
    """A language model that computes the logits of each next token.

    The defaults are those of current small models. GPT-2 has `positions="learned"`, `norm="layer"`, `bias=True`,
    `qk_norm=False`, `feed_forward="gelu"` and `tied=True`; Llama has `feed_forward="swiglu"` and `qk_norm=False`.

    Args:
        in_shape: (context,), the largest number of tokens.
        out_features: Number of tokens in the vocabulary.
        width: Width of the token embeddings.
        layers: Number of blocks.
        heads: Number of attention heads; must divide `width` unless `head_width` is set.
        kv_heads: Number of key and value heads; must divide `heads`, by default equal to `heads`.
        feed_forward: ReLU² or GELU between two layers, or SwiGLU.
        hidden: Width of the feed-forward layer; by default 4 * width, or for SwiGLU 8/3 * width, rounded up to a
            multiple of 16.
        positions: Rotary or learned positions.
        norm: RMSNorm or LayerNorm.
        bias: Whether linear layers and LayerNorm have biases.
        qkv_bias: Whether the query, key and value layers have biases; by default the same as `bias`.
        qk_norm: Whether queries and keys are normalised by an RMSNorm.
        tied: Whether the head shares the weights of the embedding.
        dropout: Dropout probability.
        zero_init: Whether the last layers of each block and the head start at zero, so that each block starts as the
            identity and all tokens start equally likely.
        rotary_base: Base of the rotary angles.
        rotary_scaling: Scaling of the rotary angles; see `project.nets.rotary.rotations`.
        norm_eps: Number added to the variance in norms.
        head_width: Width of a head; by default width / heads.
        window: Number of tokens that a token attends to, including itself; by default all.
        max_positions: Number of learned positions, at least the context; by default the context.
        checkpoint_activations: Whether to recompute activations in the backward pass, which saves memory.
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
        qkv_bias: bool | None = None,
        qk_norm: bool = True,
        tied: bool = False,
        dropout: float = 0.0,
        zero_init: bool = True,
        rotary_base: float = 10_000.0,
        rotary_scaling: dict[str, Any] | None = None,
        norm_eps: float = 1e-5,
        head_width: int | None = None,
        window: int | None = None,
        max_positions: int | None = None,
        checkpoint_activations: bool = False,
    ) -> None:
        super().__init__(in_shape, out_features)
        self.require(len(in_shape) == 1, f"rows must be tokens, got shape {self.in_shape}; use --data TextDataModule")
        kv_heads = heads if kv_heads is None else kv_heads
        sizes = {"width": width, "layers": layers, "heads": heads, "kv_heads": kv_heads, "hidden": hidden}
        sizes |= {"context": in_shape[0], "head_width": head_width, "window": window}
        self.require(min(size for size in sizes.values() if size is not None) > 0, f"{sizes}: all must be 1 or more")
        self.require(heads % kv_heads == 0, f"heads {heads} must be a multiple of kv_heads {kv_heads}")
        self.require(bool(head_width) or width % heads == 0, f"width {width} must be a multiple of heads {heads}")
        head_width, positional = head_width or width // heads, positions == "learned"
        self.require(positional or head_width % 2 == 0, f"width / heads, {head_width}, must be even; or set positions")
        self.require(0 <= dropout < 1, f"dropout must be in [0, 1), got {dropout}")
        max_positions = in_shape[0] if max_positions is None else max_positions
        lower = f"it has {max_positions} positions; lower --data.context, {in_shape[0]}"
        self.require(not positional or max_positions >= in_shape[0], lower)
        qkv_bias = bias if qkv_bias is None else qkv_bias
        hidden = hidden or (4 * width if feed_forward != "swiglu" else -(-8 * width // 48) * 16)
        layer_norm = partial(nn.LayerNorm, bias=bias)
        new_norm: Any = partial(RMSNorm if norm == "rms" else layer_norm, width, norm_eps)
        self.checkpoint_activations, self.window = checkpoint_activations, window
        self.embedding = nn.Embedding(out_features, width)
        self.positions = nn.Embedding(max_positions, width) if positional else None
        self.dropout = nn.Dropout(dropout)
        self.blocks = nn.ModuleList()
        for _ in range(layers):
            attention = Attention(
                width, heads, kv_heads, head_width, bias, qkv_bias, norm_eps if qk_norm else None, window, dropout
            )
            feeding = FeedForward(width, hidden, feed_forward, bias)
            self.blocks.append(Block([new_norm(), new_norm()], attention, feeding, dropout))
        self.norm = new_norm()
        self.head = nn.Linear(width, out_features, bias=False)
        self.register_buffer("rotation", None, persistent=False)
        if positions == "rotary":
            self.rotation = rotations(in_shape[0], head_width, rotary_base, rotary_scaling)  # (2, context, …)
        self._initialise(zero_init)
        if tied:
            self.head.weight = self.embedding.weight

    def forward(self, x: Tensor, cache: Cache | None = None, targets: Tensor | None = None) -> Tensor:
        """(B, T) tokens -> (B, T, vocabulary) logits of the next token. The tokens of the cache precede x.

        With targets (B, T), return their losses (B, T) instead, without all logits in memory.

        x may also be (B, 2, T): tokens, and the index of the document of each. The tokens of a document are adjacent
        and do not attend to other documents, so the logits are the same as for each document alone.
        """
        place = slice(0, x.shape[-1]) if cache is None else cache.places(x.shape[-1])
        x, documents = x.unbind(1) if x.ndim == 3 else (x, None)  # (B, T)
        seen = None if documents is None else within_documents(documents, self.window)
        x = self.embedding(x)  # (B, T, width)
        if self.positions is not None:
            x = x + self.positions.weight[place if documents is None else positions_in(documents)]
        x = self.dropout(x)
        rotation = None if self.rotation is None else self.rotation[:, place]  # (2, T, head_width)
        for layer, block in enumerate(self.blocks):
            if self.checkpoint_activations and self.training:
                x = checkpoint(block, x, rotation, layer, cache, seen, use_reentrant=False)
            else:
                x = block(x, rotation, layer, cache, seen)
        if cache is not None:
            cache.length += x.shape[1]
        x = self.norm(x)
        return self.head(x) if targets is None else chunked_losses(x, self.head, self.out_features, targets)

    def accepts(self, shape: tuple[int, ...]) -> bool:
        """Whether a shape has 1 to context tokens, with or without the indices of their documents."""
        return shape[:-1] in ((), (2,)) and 1 <= shape[-1] <= self.in_shape[0]

    def _initialise(self, zero_init: bool) -> None:
        """Initialise weights like GPT-2; with `zero_init`, the last layers of blocks and the head start at zero."""
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
