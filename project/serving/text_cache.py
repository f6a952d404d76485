"""The cache of an exported language model: the keys and values of the texts in a batch."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from project.serving.artifact import Array
from project.text.writing import Tokens


class TextCache:
    """Keys and values of texts, each in a row with its own number of tokens.

    ONNX Runtime appends to them in place.

    Args:
        session: The model in ONNX Runtime.
        sizes: Number of heads and width of a head of each input that holds keys or values, by its name.
        rows: Number of texts.
        capacity: The largest number of tokens of a text.

    Attributes:
        lengths: Number of tokens of each text, (rows,).
    """

    def __init__(self, session: Any, sizes: Mapping[str, tuple[int, int]], rows: int, capacity: int) -> None:
        self.session, self.sizes = session, sizes
        self.lengths: Tokens = np.zeros(rows, np.int64)
        self._parts = self._empty(rows, capacity)
        self._bindings: dict[tuple[int, int], Any] = {}

    def resize(self, kept: int, rows: int, capacity: int) -> None:
        """Reallocate the cache for other numbers of texts and tokens; the first `kept` texts stay in it."""
        longest = int(self.lengths[:kept].max(initial=0))
        new = self._empty(rows, capacity)
        for name, part in new.items():
            part[:kept, :, :longest] = self._parts[name][:kept, :, :longest]
        self.lengths = np.concatenate([self.lengths[:kept], np.zeros(rows - kept, np.int64)])
        self._parts, self._bindings = new, {}

    def move(self, source: int, target: int) -> None:
        """Copy a text to another row."""
        length = self.lengths[target] = self.lengths[source]
        for part in self._parts.values():
            part[target, :, :length] = part[source, :, :length]

    def step(self, tokens: Tokens, options: Any = None, first: int = 0) -> Array:
        """Return the logits (n, T, vocabulary) after each new token (n, T) of the n rows that start at `first`.

        `options` are ONNX Runtime's RunOptions.
        """
        rows = (first, first + len(tokens))
        if len(tokens) > 1 and tokens.shape[1] > 1 and self.lengths[slice(*rows)].any():
            # With tokens in the cache, the operator accepts several new tokens of a single text only.
            each = [self.step(row[None], options, first + place) for place, row in enumerate(tokens)]
            return np.concatenate(each)
        binding = self._binding(rows)
        binding.bind_cpu_input("tokens", np.ascontiguousarray(tokens))
        binding.bind_cpu_input("lengths", self.lengths[slice(*rows)].copy())
        binding.bind_output("logits")
        self.session.run_with_iobinding(binding, options)
        self.lengths[slice(*rows)] += tokens.shape[1]
        logits: Array = binding.get_outputs()[-1].numpy()
        return logits

    def _binding(self, rows: tuple[int, int]) -> Any:
        """Return a binding of rows of the cache to inputs and outputs."""
        from onnxruntime import OrtValue

        if rows not in self._bindings:
            binding = self._bindings[rows] = self.session.io_binding()
            for name, part in self._parts.items():
                value = OrtValue.ortvalue_from_numpy(part[slice(*rows)])
                binding.bind_ortvalue_input(name, value)
                binding.bind_ortvalue_output(name.removeprefix("past_"), value)
        return self._bindings[rows]

    def _empty(self, rows: int, capacity: int) -> dict[str, Array]:
        shapes = {name: (rows, heads, capacity, width) for name, (heads, width) in self.sizes.items()}
        return {name: np.zeros(shape, np.float32) for name, shape in shapes.items()}
