"""An interpolated Kneser-Ney n-gram model over bytes, as a baseline for language models."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

MAX_ORDER = 8
MAX_TRAINING_SYMBOLS = 2**23
BLOCK_SYMBOLS = 2**19
SYMBOLS = 257  # bytes, and 256 for the end of a document

Symbols = NDArray[np.integer]
Codes = NDArray[np.uint64]
Counts = NDArray[np.uint32]
Indices = NDArray[np.int64]
Floats = NDArray[np.float64]


class Level(NamedTuple):
    """The n-grams of one length n that occur in the training text.

    Attributes:
        codes: The n-grams packed into integers, the first symbol in the highest bits, ascending. Shape (types,).
        counts: How often each one occurs. Shape (types,).
        continuations: Number of different symbols that occur before it. Shape (types,).
    """

    codes: Codes
    counts: Counts
    continuations: Counts

    def find(self, codes: Codes) -> Indices:
        """Return the index of each n-gram in `codes`, or -1 for those that never occur."""
        index = np.searchsorted(self.codes, codes).clip(max=len(self.codes) - 1)
        return np.where(self.codes[index] == codes, index, -1)


class KneserNey:
    """Predict the next byte from up to 7 bytes before it, with modified Kneser-Ney smoothing.

    The probability of a symbol is its relative frequency after the longest context, less a discount. The probability
    that the discounts free is distributed as predicted from the context that is one symbol shorter. For shorter
    contexts, the count of a symbol is the number of different symbols before it, not the number of occurrences. Each
    length has three discounts, for n-grams that occur once, twice and more often, estimated from the numbers of n-grams
    that occur one to four times. The shortest context is interpolated with the uniform distribution, so that no symbol
    has probability 0.

    Source: S. F. Chen and J. Goodman, "An empirical study of smoothing techniques for language modeling", Computer
    Speech and Language 13 (1999), section 3: interpolated, with modified discounts.

    Args:
        symbols: The training text: bytes 0 to 255, and 256 for the end of a document. Shape (n,), n > 0. Memory grows
            by about 60 bytes per symbol, so only the last 8,388,608 are counted.
        order: Largest n: the longest context has `order` - 1 symbols.

    Attributes:
        order: As given, but at most 7 if all 257 symbols occur: an n-gram is packed into 64 bits.
    """

    def __init__(self, symbols: Symbols, order: int = MAX_ORDER) -> None:
        symbols = symbols[-MAX_TRAINING_SYMBOLS:]
        present = np.flatnonzero(np.bincount(symbols, minlength=SYMBOLS))
        self._ids = np.zeros(SYMBOLS, np.uint64)  # 0: symbols that never occur, and the padding before a text
        self._ids[present] = np.arange(1, len(present) + 1)
        self._bits = len(present).bit_length()
        self.order = min(order, 64 // self._bits, len(symbols))
        self._levels = [Level(np.zeros(1, np.uint64), *np.ones((2, 1), np.uint32))]  # the empty n-gram
        for n, codes in enumerate(self._ngrams(symbols), 1):
            types, counts = np.unique(codes[n - 1 :], return_counts=True)
            below = self._levels[-1]
            suffixes = types & np.uint64(2 ** (self._bits * (n - 1)) - 1)
            below.continuations[:] = np.bincount(below.find(suffixes), minlength=len(below.codes))
            self._levels.append(Level(types, counts.astype(np.uint32), np.zeros(len(types), np.uint32)))

    def probabilities(self, symbols: Symbols) -> Floats:
        """Return the probability of each symbol of a text given the symbols before it, for each order from 1.

        Args:
            symbols: One text or several, of shape (…, n).

        Returns:
            Shape (order, …, n): row k uses the k symbols before each symbol.
        """
        result = np.empty((self.order, *symbols.shape))
        lower: Floats = np.full(symbols.shape, 1 / SYMBOLS)
        contexts: Indices = np.zeros(symbols.shape, np.int64)
        for n, codes in enumerate(self._ngrams(symbols), 1):
            level, below = self._levels[n], self._levels[n - 1]
            found, parents = level.find(codes), below.find(level.codes >> np.uint64(self._bits))
            result[n - 1] = interpolate(level.counts, parents, found, contexts, lower)
            lower = interpolate(level.continuations, parents, found, contexts, lower)
            contexts = shift(found, -1)
        return result

    def bits(self, symbols: Symbols) -> Floats:
        """Return the bits of a text without its first symbol, for each order from 1. Shape (order,)."""
        total = np.zeros(self.order)
        for start in range(1, len(symbols), BLOCK_SYMBOLS):
            context = min(start, self.order - 1)
            block = self.probabilities(symbols[start - context : start + BLOCK_SYMBOLS])
            total -= np.log2(block[:, context:]).sum(1)
        return total

    def distribution(self, context: Symbols) -> Floats:
        """Return the probability of each of the 257 symbols after a context, for each order. Shape (order, 257)."""
        texts = np.hstack([np.tile(context, (SYMBOLS, 1)), np.arange(SYMBOLS)[:, None]])
        return self.probabilities(texts[:, -self.order :])[..., -1]

    def _ngrams(self, symbols: Symbols) -> Iterator[Codes]:
        """Yield the codes of the n-grams that end at each symbol, for n from 1 to the order."""
        ids = codes = self._ids[symbols]
        yield codes
        for _ in range(1, self.order):
            codes = shift(codes, 0) << np.uint64(self._bits) | ids
            yield codes


def interpolate(counts: Counts, parents: Indices, found: Indices, contexts: Indices, lower: Floats) -> Floats:
    """Return probabilities from the counts of one level and the probabilities after shorter contexts.

    Args:
        counts: Count of each n-gram of the level. Shape (types,).
        parents: Index of its context in the level below. Shape (types,).
        found: Index of the n-gram that ends at each symbol of a text, or -1 if it never occurs. Any shape.
        contexts: Index of the context of each symbol in the level below, or -1. Same shape.
        lower: Probability of each symbol after a context that is one symbol shorter. Same shape.
    """
    removed = discounts(counts)[counts.clip(max=3)]
    size = max(parents.max(), contexts.max()) + 1
    totals = np.bincount(parents, counts, size)[contexts]
    left_over = np.bincount(parents, removed, size)[contexts]
    kept = np.where(found >= 0, (counts - removed)[found], 0)
    known = (contexts >= 0) & (totals > 0)  # nothing may follow the last context of the training text
    return np.where(known, (kept + left_over * lower) / np.where(known, totals, 1), lower)


def discounts(counts: Counts) -> Floats:
    """Return the discounts of counts of 0, 1, 2, and 3 or more, shape (4,).

    A discount is half of the count if the estimate is undefined or not between 0 and the count.
    """
    n1, n2, n3, n4 = np.bincount(counts.clip(max=5), minlength=6)[1:5].tolist()
    taken = np.array([0, 0.5, 1, 1.5])
    if n1 and n2:
        share = n1 / (n1 + 2 * n2)
        for k, (fewer, more) in enumerate([(n1, n2), (n2, n3), (n3, n4)], 1):
            estimate = k - (k + 1) * share * more / fewer if fewer else 0
            if 0 < estimate < k:
                taken[k] = estimate
    return taken


def shift(values: NDArray[Any], first: int) -> NDArray[Any]:
    """Shift values one place to the right along the last dimension, and fill in `first` on the left."""
    moved = np.roll(values, 1, axis=-1)
    moved[..., 0] = first
    return moved
