"""Division of documents into training, validation and test splits."""

from collections.abc import Iterable, Iterator
from typing import Literal, NamedTuple

import numpy as np

from project.data.documents import Piece
from project.data.split import sizes

SPLITS = ("train", "val", "test")
By = Literal["position", "documents"]


class Part(NamedTuple):
    """Consecutive bytes of one split.

    Attributes:
        split: "train", "val" or "test".
        starts: Whether these are the first bytes of a document in this split.
        data: The bytes.
    """

    split: str
    starts: bool
    data: bytes


class TextSplit:
    """Divides text by position, with the last bytes in the test split, or divides whole documents at random.

    Args:
        lengths: Number of bytes of each document, shape (documents,).
        val: Fraction of the bytes to validate on.
        test: Fraction of the bytes to test on.
        by: "position" or "documents"; with "documents", the fractions are approximate.
        seed: Seed of the random choice of documents.
    """

    def __init__(self, lengths: np.ndarray, val: float, test: float, by: By, seed: int) -> None:
        total = int(lengths.sum())
        ends = np.cumsum(lengths)
        if by == "position":
            train, validated, _ = sizes(total, val, test)
            self._cuts = np.clip(np.array([train, train + validated])[:, None] - (ends - lengths), 0, lengths)
        else:
            order = np.random.default_rng(seed).permutation(len(lengths))
            middle = np.empty(len(lengths))
            middle[order] = (np.cumsum(lengths[order]) - lengths[order] / 2) / total  # share of the bytes before it
            self._cuts = np.stack([(middle >= val + test) * lengths, (middle >= test) * lengths])

    def divide(self, pieces: Iterable[Piece]) -> Iterator[Part]:
        """Yield the pieces of all documents, divided at the boundaries of splits, but never within a character."""
        current, offset, begun = -1, 0, set[str]()
        for document, data in pieces:
            if document != current:
                current, offset, begun = document, 0, set()
            inner = (_character_start(data, int(cut) - offset) for cut in self._cuts[:, document])
            edges = [0, *inner, len(data)]
            for split, start, end in zip(SPLITS, edges, edges[1:], strict=False):
                if start < end:
                    yield Part(split, split not in begun, data[start:end])
                    begun.add(split)
            offset += len(data)


def _character_start(data: bytes, position: int) -> int:
    """Return the first position from `position` on at which a UTF-8 character starts."""
    if not 0 < position < len(data):
        return min(max(position, 0), len(data))
    places = range(position, position + 4)
    return next((place for place in places if place == len(data) or data[place] & 0xC0 != 0x80), position)
