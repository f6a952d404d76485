"""Packing of documents of tokens into windows of one length."""

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
    """The tokens of a document, and which of them are targets.

    Attributes:
        ids: The tokens, (n,) int32.
        learned: Whether each token is a target, (n,) bool. The first token never is.
    """

    ids: Numbers
    learned: Numbers

    @property
    def size(self) -> int:
        """Number of inputs, which are all tokens except the last one."""
        return len(self.ids) - 1

    def cut(self, tokens: int) -> "Document":
        """Return the first tokens."""
        return Document(self.ids[:tokens], self.learned[:tokens])


class PackedRows(Rows):
    """Windows of documents: x (rows, 2, T) has tokens and the index of the document of each, y (rows, T) targets.

    They are stored as int32, and batches are int64.
    """

    def gather(self, index: Tensor | slice) -> Batch:
        """Return x (B, 2, T) and y (B, T), both int64, of the rows at an index."""
        x, y = super().gather(index)[:2]
        return x.long(), y.long()

    def to(self, device: torch.device) -> "PackedRows":
        """Return the same windows on another device."""
        return PackedRows(self.x.to(device), self.y.to(device), self.batch_size)


def pack(documents: Sequence[Document], context: int) -> list[list[Document]]:
    """Distribute documents over windows by best fit: the longest first, each in the fullest window with room."""
    contents, free = list[list[Document]](), list[tuple[int, int]]()  # free: the room of each window, and its index
    for document in sorted(documents, key=lambda document: -document.size):
        place = bisect_left(free, (document.size, 0))
        room, window = free.pop(place) if place < len(free) else (context, len(contents))
        if window == len(contents):
            contents.append([])
        contents[window].append(document)
        insort(free, (room - document.size, window))
    return contents


def windows(contents: Sequence[Sequence[Document]], context: int, filler: int) -> PackedRows:
    """Return windows of consecutive documents. Targets that are not learned are -100.

    Args:
        contents: The documents of each window, together no larger than a window.
        context: Number of tokens in a window.
        filler: The token that fills the rest of a window, which has the document index -1.
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
