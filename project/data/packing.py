"""Documents of tokens side by side in windows of one length."""

from bisect import bisect_left, insort
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from project.data.loader import Batch, Rows
from project.data.windows import UNCOUNTED

Numbers = np.ndarray[Any, np.dtype[Any]]


class Document(NamedTuple):
    """Tokens and which of them are learned.

    Attributes:
        ids: The tokens, (n,) int32.
        learned: Whether a token is a target, (n,) bool; the first one never is.
    """

    ids: Numbers
    learned: Numbers

    @property
    def size(self) -> int:
        """Number of inputs: each token but the last is one, and each but the first a target."""
        return len(self.ids) - 1

    def cut(self, tokens: int) -> "Document":
        """Return the first tokens."""
        return Document(self.ids[:tokens], self.learned[:tokens])


class PackedRows(Rows):
    """Windows of documents: x (rows, 2, T) are tokens and the number of the document of each, y (rows, T) targets.

    They are kept as int32, and batches are int64.
    """

    def gather(self, index: Tensor | slice) -> Batch:
        """Return x (B, 2, T) and y (B, T), both int64, of the rows at an index."""
        x, y = super().gather(index)[:2]
        return x.long(), y.long()

    def to(self, device: torch.device) -> "PackedRows":
        """Return the same windows on another device."""
        return PackedRows(self.x.to(device), self.y.to(device), self.batch_size)


def pack(documents: Sequence[Document], context: int) -> list[list[Document]]:
    """Return which documents lie in a window together: the longest first, each in the fullest one that has room."""
    contents, free = list[list[Document]](), list[tuple[int, int]]()  # room of a window, and its number
    for document in sorted(documents, key=lambda document: -document.size):
        place = bisect_left(free, (document.size, 0))
        room, window = free.pop(place) if place < len(free) else (context, len(contents))
        if window == len(contents):
            contents.append([])
        contents[window].append(document)
        insort(free, (room - document.size, window))
    return contents


def windows(contents: Sequence[Sequence[Document]], context: int, filler: int) -> PackedRows:
    """Return windows in which documents lie one after another; targets are those that are learned, others -100.

    Args:
        contents: The documents of each window, together at most of its size.
        context: Tokens of a window.
        filler: The token of what is left of a window, which is a document of its own, -1.
    """
    x = np.zeros((len(contents), 2, context), np.int32)
    x[:, 0], x[:, 1] = filler, -1
    y = np.full((len(contents), context), UNCOUNTED, np.int32)
    for window, documents in enumerate(contents):
        start = 0
        for number, document in enumerate(documents):
            place = slice(start, start + document.size)
            x[window, 0, place], x[window, 1, place] = document.ids[:-1], number
            y[window, place] = np.where(document.learned[1:], document.ids[1:], UNCOUNTED)
            start += document.size
    return PackedRows(torch.from_numpy(x), torch.from_numpy(y))
