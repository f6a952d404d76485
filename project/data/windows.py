"""Windows of tokens as rows; an epoch of training visits each token once, with windows at a random offset."""

from collections.abc import Iterator
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from project.data.batch_sampler import BLOCK_ROWS, BatchSampler
from project.data.loader import Batch, Rows, to_device

UNCOUNTED = -100  # target that losses and metrics ignore, the `ignore_index` of `torch.nn.functional.cross_entropy`


class Windows(Rows):
    """Windows of consecutive tokens, and of the tokens after each of them.

    Without shuffling, windows are adjacent, and the last one ends at the last token. Its targets that also occur in the
    window before are -100, so that each token except the first is a target exactly once. With shuffling, the windows of
    an epoch start at an offset, shorter than a window, that is a function of (seed, epoch).

    Args:
        tokens: Token ids, shape (tokens,), int32, or int16 with the bits of a uint16.
        context: Number of tokens in a window, T.
        batch_size: If set, an item is `Batches` of at most this many windows each.

    Attributes:
        x: The windows in order, shape (windows, T) int64, which is four times the memory of the tokens.
        y: The tokens after each token of x.
    """

    def __init__(self, tokens: Tensor, context: int, batch_size: int | None = None) -> None:
        self.tokens, self.context = tokens, context
        self.batch_size, self.weights, self.block_rows = batch_size, None, BLOCK_ROWS
        # Views of the tokens with a window at each position.
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
        """Device of the tokens."""
        return self.tokens.device

    @property
    def targets(self) -> int:
        """Number of tokens that can be predicted, which are all except the first."""
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
        """Return the sampler of batches."""
        if not shuffle:
            return super().sampler(batch_size, shuffle, **options)
        return OffsetSampler(self.targets, self.context, batch_size, **options)

    def gather(self, index: Tensor | slice) -> Batch:
        """Return x and y, both (B, T) int64, of windows at positions (B,), or of a slice of the windows in order."""
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
    """Yields the positions of training windows, which are adjacent and start at the offset of the epoch.

    Args:
        targets: Number of tokens that can be predicted.
        context: Number of tokens in a window.
        batch_size: Windows per batch and process.
        **options: Arguments of `BatchSampler`.
    """

    def __init__(self, targets: int, context: int, batch_size: int, **options: Any) -> None:
        super().__init__(max(1, targets // context - 1), batch_size, shuffle=True, **options)
        self.context = context
        self.slack = min(targets - self.rows * context, context - 1)  # maximum of the offset

    @property
    def offset(self) -> int:
        """Position of the first window of this epoch."""
        return int(np.random.default_rng([self.seed, self.epoch]).integers(self.slack + 1))

    def _order(self) -> Iterator[Tensor]:
        for piece in super()._order():
            yield piece.long() * self.context + self.offset
