"""A language model as an exported file has it: the cache is part of its inputs and outputs."""

import torch
from torch import Tensor, nn

from project.nets.cache import Cache
from project.nets.gpt import GPT


class CachedStep(nn.Module):
    """The network of a language model, with the keys and values of earlier tokens as inputs, and of all as outputs.

    Args:
        net: The network, in evaluation mode.
    """

    def __init__(self, net: GPT) -> None:
        super().__init__()
        self.net = net

    def forward(self, tokens: Tensor, past: list[Tensor]) -> tuple[Tensor, ...]:
        """Return the logits of the token after each, and the new cache.

        tokens (B, T), and keys and values of each layer in turn (B, kv_heads, P, head_width) -> logits (B, T,
        vocabulary), and keys and values (B, kv_heads, P + T, head_width).
        """
        cache = GivenCache(past)
        logits = self.net(tokens, cache)
        return logits, *cache.parts


class GivenCache(Cache):
    """A cache of tensors that grow.

    Args:
        parts: Keys and values of each layer in turn, (B, kv_heads, P, head_width).
    """

    is_traced = True

    def __init__(self, parts: list[Tensor]) -> None:
        self.parts, self.length = list(parts), parts[0].shape[2]

    def append(self, layer: int, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Add keys and values (B, kv_heads, T, head_width) of a layer; return those of all tokens so far."""
        place = slice(2 * layer, 2 * layer + 2)
        keys, values = (torch.cat(pair, dim=2) for pair in zip(self.parts[place], (k, v), strict=True))
        self.parts[place] = keys, values
        return keys, values
