"""Windows of tokens as rows: an epoch of training visits each token once, at an offset of its own."""

from collections.abc import Iterator
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from project.data.loader import BLOCK_ROWS, Batch, BatchSampler, Rows, to_device

UNCOUNTED = -100  # a target that no loss and no metric counts, as `torch.nn.functional.cross_entropy` has it


class Windows(Rows):
    """Windows of consecutive tokens, and of the tokens after each of them.

    In order, windows lie side by side, and the last one ends at the last token: its targets that were counted before
    are -100, so that each token but the first is a target once. Shuffled, an epoch starts at an offset within the
    length of a window, which is a function of (seed, epoch).

    Args:
        tokens: Token ids, shape (tokens,), int32, or int16 whose bits are a uint16.
        context: Tokens of a window, T.
        batch_size: If set, an item is `Batches` of at most this many windows each.

    Attributes:
        x: The windows in order, shape (windows, T) int64, which is four times the memory of the tokens.
        y: The tokens after each token of x.
    """

    def __init__(self, tokens: Tensor, context: int, batch_size: int | None = None) -> None:
        self.tokens, self.context = tokens, context
        self.batch_size, self.weights, self.block_rows = batch_size, None, BLOCK_ROWS
        # Views of the tokens, with a window at every position.
        self._inputs, self._targets = (part.unfold(0, context, 1) for part in (tokens[:-1], tokens[1:]))

    @cached_property
    def x(self) -> Tensor:  # type: ignore[override]
        """The windows in order, (windows, T) int64."""
        return self.gather(slice(0, len(self)))[0]

    @cached_property
    def y(self) -> Tensor:  # type: ignore[override]
        """The tokens after each token of x, (windows, T) int64."""
        return self.gather(slice(0, len(self)))[1]

    @property
    def device(self) -> torch.device:
        """Where the tokens are."""
        return self.tokens.device

    @property
    def targets(self) -> int:
        """Number of tokens that can be predicted: all but the first."""
        return len(self.tokens) - 1

    def __len__(self) -> int:
        return -(-self.targets // self.context)

    @property
    def nbytes(self) -> int:
        """Size of the rows in memory."""
        return self.tokens.nbytes

    def to(self, device: torch.device) -> "Windows":
        """Return the same windows on another device."""
        return Windows(self.tokens.to(device), self.context, self.batch_size)

    def sampler(self, batch_size: int, shuffle: bool, **options: Any) -> BatchSampler:
        """Return what chooses the windows of each batch."""
        if not shuffle:
            return super().sampler(batch_size, shuffle, **options)
        return OffsetSampler(self.targets, self.context, batch_size, **options)

    def gather(self, index: Tensor | slice) -> Batch:
        """Return x and y, both (B, T) int64: of windows at positions (B,), or of a slice of the windows in order."""
        if not isinstance(index, slice):
            return self._at(to_device(index, self.tokens.device))
        starts = torch.arange(index.start, index.stop, device=self.tokens.device) * self.context
        x, y = self._at(starts.clamp(max=self.targets - self.context))
        if index.stop == len(self):
            y[-1, : len(self) * self.context - self.targets] = UNCOUNTED
        return x, y

    def _at(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        x, y = (part.index_select(0, positions).long() for part in (self._inputs, self._targets))
        return (x & 0xFFFF, y & 0xFFFF) if self.tokens.dtype == torch.int16 else (x, y)


class OffsetSampler(BatchSampler):
    """Yields the positions of training windows, which lie side by side from the offset of the epoch.

    Args:
        targets: Number of tokens that can be predicted.
        context: Tokens of a window.
        batch_size: Windows per batch and process.
        **options: Arguments of `BatchSampler`.
    """

    def __init__(self, targets: int, context: int, batch_size: int, **options: Any) -> None:
        super().__init__(max(1, targets // context - 1), batch_size, shuffle=True, **options)
        self.context = context
        self.slack = min(targets - self.rows * context, context - 1)  # tokens before the first window, at most

    @property
    def offset(self) -> int:
        """Position of the first window of this epoch."""
        return int(np.random.default_rng([self.seed, self.epoch]).integers(self.slack + 1))

    def _order(self) -> Iterator[Tensor]:
        for piece in super()._order():
            yield piece.long() * self.context + self.offset
