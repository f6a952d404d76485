"""A random source of text with a known entropy, to test language models."""

from bisect import bisect_right
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

FIRST = ord("a")
MAX_STEPS = 10_000  # of the fixed-point iteration, which usually takes 20 to 200 steps
SMOOTHING = 0.05  # weight of the uniform distribution in each row, so that no letter has probability 0


class MarkovSource:
    """A Markov chain over the letters a, b, c, …, which draws each letter given the `order` letters before it.

    The probabilities after each context are drawn from a Dirichlet distribution.

    Args:
        letters: Size of the alphabet, 2 to 26.
        order: Letters of a context.
        concentration: Parameter of the Dirichlet distribution. With small values, a single letter is likely after each
            context; with large values, all letters are about equally likely.
        seed: Seed of the probabilities.

    Attributes:
        transitions: Probability of each letter after each context, shape (letters ** order, letters). The index of a
            context is the number whose digits, in base `letters`, are its letters.
    """

    def __init__(self, letters: int, order: int, concentration: float = 0.3, seed: int = 0) -> None:
        self.letters, self.order = letters, order
        rows = np.random.default_rng([seed, 0]).dirichlet(np.full(letters, concentration), letters**order)
        self.transitions = (1 - SMOOTHING) * rows + SMOOTHING / letters

    @cached_property
    def stationary(self) -> NDArray[np.float64]:
        """Stationary distribution of the contexts, shape (letters ** order,)."""
        contexts = len(self.transitions)
        probabilities = np.full(contexts, 1 / contexts)
        for _ in range(MAX_STEPS):
            following = (probabilities[:, None] * self.transitions).reshape(-1, contexts).sum(0)
            following /= following.sum()
            change, probabilities = np.abs(following - probabilities).sum(), following
            if change < 1e-15:
                break
        return probabilities

    @cached_property
    def entropy(self) -> float:
        """Entropy rate in bits per letter, which no model can beat on average."""
        return float(-(self.stationary[:, None] * self.transitions * np.log2(self.transitions)).sum())

    def draw(self, length: int, seed: int = 0) -> bytes:
        """Return a text of `length` letters, whose start is drawn from the stationary distribution."""
        generator = np.random.default_rng([seed, 1])
        state = int(generator.choice(len(self.transitions), p=self.stationary))
        text = [state // self.letters**place % self.letters for place in reversed(range(self.order))]
        bounds = self.transitions.cumsum(1)[:, :-1].tolist()
        for number in generator.random(max(length - self.order, 0)).tolist():
            text.append(bisect_right(bounds[state], number))
            state = (state * self.letters + text[-1]) % len(bounds)
        return bytes(FIRST + letter for letter in text[:length])

    def bits(self, text: bytes) -> float:
        """Return -log2 of the probability of a text of at least `order` letters, the bits of a perfect model."""
        digits = np.frombuffer(text, np.uint8).astype(np.int64) - FIRST
        places = self.letters ** np.arange(self.order)[::-1]
        windows = np.lib.stride_tricks.sliding_window_view(digits, self.order + 1) if self.order else digits[:, None]
        states = windows[:, :-1] @ places
        start = self.stationary[digits[: self.order] @ places]
        return float(-np.log2(start) - np.log2(self.transitions[states, windows[:, -1]]).sum())
