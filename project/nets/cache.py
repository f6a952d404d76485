"""The cache of keys and values of a Transformer."""

from typing import Any

from torch import Tensor


class Cache:
    """Keys and values of the tokens so far, so that the network computes only new tokens.

    Args:
        net: The `GPT` that fills the cache.
        batch: Number of sequences.

    Attributes:
        length: Number of tokens so far, at most the context of the network.
        is_traced: Whether the network calls `attend` instead of `append`, as in an exported file.
    """

    is_traced = False

    def __init__(self, net: Any, batch: int = 1) -> None:
        attention = net.blocks[0].get_submodule("attention")
        like, (context,) = net.embedding.weight, net.in_shape
        shape = (batch, attention.kv_heads, context, attention.head_width)
        self.layers = [(like.new_zeros(shape), like.new_zeros(shape)) for _ in net.blocks]
        self.length = 0

    def places(self, new: int) -> Any:
        """Return an index of the positions of new tokens."""
        return slice(self.length, self.length + new)

    def attend(self, layer: int, q: Tensor, k: Tensor, v: Tensor, window: int | None) -> Tensor:
        """Append keys and values, and return the output of attention: (B, T, heads, head_width) -> (B, T, width)."""
        raise NotImplementedError

    def append(self, layer: int, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Append keys and values (B, kv_heads, T, head_width) of a layer, and return those of all tokens so far."""
        (keys, values), new = self.layers[layer], k.shape[2]
        keys.narrow(2, self.length, new).copy_(k)
        values.narrow(2, self.length, new).copy_(v)
        return keys.narrow(2, 0, self.length + new), values.narrow(2, 0, self.length + new)
