"""Sampling of the next token from its logits, and decoding of tokens to text one by one."""

import codecs
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

Numbers = np.ndarray[Any, np.dtype[np.floating[Any]]]


class Sampling(NamedTuple):
    """Settings for the choice of the next token.

    Attributes:
        temperature: Divisor of the logits; 0 always chooses the most likely token.
        top_k: Number of most likely tokens to choose from; 0 for all.
        top_p: Choose from the smallest set of tokens whose total probability is at least this; 1 for all.
    """

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0

    def problem(self) -> str | None:
        """Return what is wrong with the settings; None if they are valid."""
        problems = {
            f"temperature: must be 0 or more, got {self.temperature}": not 0 <= self.temperature < np.inf,
            f"top_k: must be 0 or more, got {self.top_k}": self.top_k < 0,
            f"top_p: must be above 0 and at most 1, got {self.top_p}": not 0 < self.top_p <= 1,
        }
        return next((problem for problem, occurs in problems.items() if occurs), None)

    def probabilities(self, logits: Numbers) -> Numbers:
        """Return the probability with which each token is chosen: logits (vocabulary,) -> (vocabulary,) float64.

        The temperature is applied first, then `top_k`, then `top_p`. Of equally likely tokens, the first are kept.

        Source: Holtzman et al., "The Curious Case of Neural Text Degeneration" (2020), for `top_p`.
        """
        logits = np.asarray(logits, np.float64)
        kept = min(1 if self.temperature == 0 else self.top_k or len(logits), len(logits))
        candidates = np.flatnonzero(logits >= np.partition(logits, -kept)[-kept])  # sorting all of them is slow
        order = candidates[np.argsort(-logits[candidates], kind="stable")][:kept]  # most likely first
        scaled = (logits[order] - logits[order[0]]) / (self.temperature or 1.0)
        likely = np.exp(scaled) / np.exp(scaled).sum()
        kept = 1 + int(np.searchsorted(np.cumsum(likely), self.top_p * (1 - 1e-12)))
        chosen = np.zeros(len(logits))
        chosen[order[:kept]] = likely[:kept] / likely[:kept].sum()
        return chosen

    def choose(self, logits: Numbers, generator: np.random.Generator) -> int:
        """Return a token drawn with one random number; at temperature 0, the most likely token."""
        if self.temperature == 0:
            return int(np.argmax(logits))
        cumulated = np.cumsum(self.probabilities(logits))
        return int(np.searchsorted(cumulated, generator.random() * cumulated[-1], side="right"))


def log_probabilities(logits: Numbers) -> Numbers:
    """Return the log-probability of each token under the model itself, float64: (vocabulary,) -> (vocabulary,)."""
    logits = np.asarray(logits, np.float64) - np.max(logits)
    return logits - np.log(np.exp(logits).sum())


def most_likely(chances: Numbers, count: int) -> list[tuple[int, float]]:
    """Return the most likely tokens and their log-probabilities, the likeliest first, from those of all tokens."""
    candidates = np.argpartition(-chances, min(count, len(chances)) - 1)[:count]
    order = candidates[np.argsort(-chances[candidates], kind="stable")]
    return [(int(token), float(chances[token])) for token in order]


class TextStream:
    """Decodes bytes as they arrive, and never returns a part of a character or of a stop text.

    Args:
        stops: Texts that end the stream. They are not returned.

    Attributes:
        stopped: Whether a stop text has occurred.
    """

    def __init__(self, stops: Sequence[str] = ()) -> None:
        self.stops, self.stopped = [stop for stop in stops if stop], False
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._held = ""  # text that may be the beginning of a stop text

    def add(self, data: bytes, final: bool = False) -> str:
        """Add bytes, the last ones if `final`, and return the text that is now complete."""
        if self.stopped:
            return ""
        text = self._held + self._decoder.decode(data, final)
        if found := [place for stop in self.stops if (place := text.find(stop)) >= 0]:
            self.stopped, self._held = True, ""
            return text[: min(found)]
        longest = 0 if final else max((_overlap(text, stop) for stop in self.stops), default=0)
        self._held = text[len(text) - longest :]
        return text[: len(text) - longest]


def _overlap(text: str, stop: str) -> int:
    """Return the length of the longest prefix of a stop text with which a text ends."""
    return next((size for size in range(min(len(stop) - 1, len(text)), 0, -1) if text.endswith(stop[:size])), 0)
