"""A language model in the form that is exported: the cache is part of its inputs and outputs."""

from typing import Any

import torch
from torch import Tensor, nn

from project.nets.cache import Cache
from project.nets.gpt import GPT
from project.nets.rotary import rotate

ROTARY_WIDTH = 16  # the operator can rotate heads whose width is a multiple of this


class CachedStep(nn.Module):
    """The network of a language model, with the keys and values of earlier tokens as inputs, and of all as outputs.

    Attention is ONNX Runtime's `GroupQueryAttention`: it rotates, and appends to a cache in place; each text of a batch
    has its own number of tokens.

    Args:
        net: The network, in evaluation mode.
    """

    cos: Tensor | None
    sin: Tensor | None

    def __init__(self, net: GPT) -> None:
        super().__init__()
        self.net = net
        self.register_buffer("cos", None)
        self.register_buffer("sin", None)
        if net.rotation is not None and net.rotation.shape[2] % ROTARY_WIDTH == 0:
            half = net.rotation.shape[2] // 2
            self.cos, self.sin = net.rotation[0, :, :half].contiguous(), net.rotation[1, :, half:].contiguous()

    def forward(self, tokens: Tensor, lengths: Tensor, past: list[Tensor]) -> tuple[Tensor, ...]:
        """Return the logits of the token after each, and the new cache.

        tokens (B, T), the number of tokens before them (B,), and keys and values of each layer in turn (B, kv_heads, P,
        head_width) -> logits (B, T, vocabulary), and keys and values.
        """
        cache = GivenCache(past, lengths, tokens.shape[1], (self.cos, self.sin))
        if self.cos is None and self.net.rotation is not None:
            cache.turns = self.net.rotation[:, cache.places(tokens.shape[1])][:, :, :, None]
        logits = self.net(tokens, cache)
        return logits, *cache.parts


class GivenCache(Cache):
    """A cache whose rows have different lengths.

    Args:
        parts: Keys and values of each layer in turn, (B, kv_heads, P, head_width).
        lengths: The number of tokens of each row, (B,).
        new: Number of new tokens of each row.
        rotation: Cosine and sine of each position, (context, head_width / 2) each; None to rotate before it.

    Attributes:
        turns: Cosine and sine with which new tokens are rotated before the operator, (2, B, T, 1, head_width); None if
            the operator rotates them.
    """

    is_traced = True
    turns: Tensor | None = None

    def __init__(self, parts: list[Tensor], lengths: Tensor, new: Any, rotation: tuple[Tensor | None, ...]) -> None:
        self.parts, self.lengths, self.rotation, self.length = list(parts), lengths, rotation, 0
        self._last = (lengths + new - 1).to(torch.int32)  # place of the last token of each row
        self._total = (lengths.max() + new).to(torch.int32)

    def places(self, new: Any) -> Tensor:
        """Return the positions of new tokens, (B, T)."""
        return self.lengths[:, None] + torch.arange(new, device=self.lengths.device)

    def attend(self, layer: int, q: Tensor, k: Tensor, v: Tensor, window: int | None) -> Tensor:
        """Add keys and values to the cache, and return the attention: (B, T, heads, head_width) -> (B, T, width)."""
        place, kv_heads = slice(2 * layer, 2 * layer + 2), k.shape[2]
        past, (rows, _, before, width) = self.parts[place], self.parts[0].shape
        shape = (rows, kv_heads, before + q.shape[1], width)
        if self.turns is not None:
            q, k = rotate(q, self.turns), rotate(k, self.turns)
        heads, is_rotary = q.shape[2], self.rotation[0] is not None
        q, k, v = (part.flatten(2) for part in (q, k, v))
        attributes: dict[str, Any] = {"num_heads": heads, "kv_num_heads": kv_heads, "do_rotary": int(is_rotary)}
        mixed, *self.parts[place] = torch.onnx.ops.symbolic_multi_out(
            "com.microsoft::GroupQueryAttention",
            (q, k, v, *past, self._last, self._total, *self.rotation),
            attributes | {"local_window_size": window or -1},
            dtypes=(q.dtype,) * 3,
            shapes=(q.shape, shape, shape),
            version=1,
        )
        return mixed
