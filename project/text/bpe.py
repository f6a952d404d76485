"""Byte-level byte-pair encoding, learned from text.

Sources: Sennrich, Haddow & Birch, "Neural Machine Translation of Rare Words with Subword Units" (2016); Radford et al.,
"Language Models are Unsupervised Multitask Learners" (2019), for bytes as the alphabet and for the words.
"""

import re
from array import array
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from heapq import heapify, heappop, heappush
from itertools import pairwise
from typing import Any

import numpy as np

from project.runtime.errors import UserError
from project.text.tokenizer import Ids, Tokenizer

# A token never crosses the boundary of a word. A word is a run of letters, of digits or of other characters, each with
# the space before it, or a run of spaces. The limit of 64 characters keeps the time of encoding linear.
WORD = re.compile(r"'(?:[sdmt]|ll|ve|re)| ?[^\W\d_]{1,64}| ?\d{1,64}| ?(?:[^\s\w]|_){1,64}|\s{1,64}(?!\S)|\s{1,64}")
MAX_PIECE_BYTES = 65 * 4  # of the longest word
CACHED_WORDS = 2**20
BYTES = 256
Pair = tuple[int, int]


class BPETokenizer(Tokenizer):
    """Byte-pair encoding: ids 0 to 255 are bytes, each further id merges two others, and the last is the end of text.

    Args:
        merges: For each id from 256 on, the two ids that it merges. Earlier merges are applied first.

    Raises:
        ValueError: If a merge refers to ids after it, or results in a token longer than a word.
    """

    kind = "bpe"

    def __init__(self, merges: Sequence[Sequence[int]]) -> None:
        pieces = [bytes([byte]) for byte in range(BYTES)]
        for left, right in merges:
            if not 0 <= min(left, right) <= max(left, right) < len(pieces):
                raise ValueError(f"token {len(pieces)} joins {left} and {right}")
            pieces.append(pieces[left] + pieces[right])
            if len(pieces[-1]) > MAX_PIECE_BYTES:
                raise ValueError(f"token {len(pieces) - 1} is longer than a word")
        super().__init__([*pieces, b""], end=len(pieces))
        self._ids = {(left, right): BYTES + rank for rank, (left, right) in enumerate(merges)}
        self._forget()

    @classmethod
    def train(cls, texts: Iterable[bytes], vocab_size: int) -> "BPETokenizer":
        """Learn the merges from texts. The most frequent pair is merged first; of several, the one with smaller ids.

        Raises:
            UserError: If the vocabulary is smaller than the number of bytes, or larger than the texts allow.
        """
        wanted = vocab_size - BYTES - 1
        if wanted < 0:
            raise UserError(
                f"--data.vocab_size: must be {BYTES + 1} or more, for all bytes and the end of text, got {vocab_size}"
            )
        counts = Counter[str]()
        for text in texts:
            counts.update(_words(text))
        merges = _learn({_bytes(word): count for word, count in counts.items()}, wanted)
        if len(merges) < wanted:
            most = len(merges) + BYTES + 1
            raise UserError(f"--data.vocab_size: the training text yields at most {most}, got {vocab_size}; lower it")
        return cls(merges)

    def encode(self, data: bytes) -> Ids:
        """Return the ids of some bytes, (tokens,) int32."""
        if len(self._cache) > CACHED_WORDS:
            self._forget()
        words = _words(data)
        index = np.fromiter(map(self._cache.__getitem__, words), np.int64, len(words))
        # `known` has the ids of all known words, one word after another; this gathers those of the text's words.
        known, ends = (np.frombuffer(part, np.int32) for part in (self._known, self._ends))
        starts = ends[index]
        lengths = ends[index + 1] - starts
        shifts = starts - (lengths.cumsum() - lengths)
        return known[np.repeat(shifts, lengths) + np.arange(lengths.sum())]

    def _forget(self) -> None:
        self._known, self._ends = array("i"), array("i", [0])
        self._cache = _Cache(self._learn_word)

    def _learn_word(self, word: str) -> int:
        """Encode a new word and store its ids. Return the index of the word."""
        self._known.extend(_join(list(_bytes(word)), self._ids))
        self._ends.append(len(self._known))
        return len(self._ends) - 2

    def arguments(self) -> dict[str, Any]:
        """Return the merges as plain data."""
        return {"merges": [list(pair) for pair in self._ids]}


class _Cache(dict[str, int]):
    """The index of each known word. A word that is looked up for the first time is learned."""

    def __init__(self, learn: Any) -> None:
        super().__init__()
        self._learn = learn

    def __missing__(self, word: str) -> int:
        self[word] = number = self._learn(word)
        return number


def _words(text: bytes) -> list[str]:
    """Split bytes into words. Invalid UTF-8 becomes lone surrogates, which `_bytes` converts back."""
    return WORD.findall(text.decode("utf-8", "surrogateescape"))


def _bytes(word: str) -> bytes:
    return word.encode("utf-8", "surrogateescape")


def _join(ids: list[int], joined: Mapping[Pair, int]) -> list[int]:
    """Merge pairs of ids, the one with the smallest result first, until no pair can be merged."""
    while len(ids) > 1:
        best = min(pairwise(ids), key=lambda pair: joined.get(pair, len(joined) + BYTES))
        if best not in joined:
            break
        ids = _replace(ids, best, joined[best])
    return ids


def _replace(ids: list[int], pair: Pair, result: int) -> list[int]:
    """Replace all occurrences of a pair of ids, from left to right."""
    replaced, position, last = list[int](), 0, len(ids) - 1
    while position <= last:
        if position < last and ids[position] == pair[0] and ids[position + 1] == pair[1]:
            replaced.append(result)
            position += 2
        else:
            replaced.append(ids[position])
            position += 1
    return replaced


def _learn(counts: Mapping[bytes, int], wanted: int) -> list[Pair]:
    """Return up to `wanted` merges, learned from words and their counts."""
    words, numbers = [list(word) for word in counts], list(counts.values())
    pairs: Counter[Pair] = Counter()
    places: defaultdict[Pair, set[int]] = defaultdict(set)
    for place, word in enumerate(words):
        for pair in pairwise(word):
            pairs[pair] += numbers[place]
            places[pair].add(place)
    heap = [(-count, pair) for pair, count in pairs.items()]
    heapify(heap)
    merges: list[Pair] = []
    while heap and len(merges) < wanted:
        count, best = heappop(heap)
        if -count != pairs[best]:  # outdated: the heap also has an entry with the new count
            continue
        if count > -2:
            break
        result = BYTES + len(merges)
        merges.append(best)
        changed: set[Pair] = set()
        for place in places.pop(best):
            before, number = words[place], numbers[place]
            after = words[place] = _replace(before, best, result)
            for pair in pairwise(before):
                pairs[pair] -= number
                changed.add(pair)
            for pair in pairwise(after):
                pairs[pair] += number
                places[pair].add(place)
                changed.add(pair)
        for pair in changed:
            if pairs[pair] > 1:
                heappush(heap, (-pairs[pair], pair))
    return merges
