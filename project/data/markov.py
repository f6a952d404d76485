"""Text from a random source, for which the loss of a perfect language model is known."""

import hashlib
import json
from collections.abc import Iterable
from functools import cached_property
from typing import Any

from project.data.documents import Piece
from project.data.text import TextDataModule
from project.runtime.errors import UserError
from project.runtime.ranges import IntFromTwo, NonNegativeInt, OpenUnitInterval, PositiveFloat, PositiveInt
from project.text.markov import MarkovSource

MAX_LETTERS, MAX_CONTEXTS = 26, 20_000


class MarkovDataModule(TextDataModule):
    """Letters drawn from a Markov chain with random probabilities.

    On average over long texts, no model needs fewer bits per byte than `entropy`.

    Args:
        letters: Size of the alphabet, at most 26.
        order: Number of letters that the next one depends on.
        concentration: With small values, a single letter is likely after each context; with large values, all letters
            are about equally likely.
        length: Number of letters in all splits together.
        context: Number of tokens in a window.
        val_fraction: Fraction of the letters to validate on.
        test_fraction: Fraction of the letters to test on.
        batch_size: Windows per batch and process.
        **kwargs: Arguments of `TextDataModule`; `seed` is also the seed of the probabilities.
    """

    def __init__(
        self,
        letters: IntFromTwo = 4,
        order: NonNegativeInt = 2,
        concentration: PositiveFloat = 0.3,
        length: PositiveInt = 1_000_000,
        context: PositiveInt = 512,
        val_fraction: OpenUnitInterval = 0.02,
        test_fraction: OpenUnitInterval = 0.2,
        batch_size: PositiveInt = 8,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            path="a Markov source",
            tokenizer="bytes",
            column="",
            split="position",
            context=context,
            val_fraction=val_fraction,
            test_fraction=test_fraction,
            batch_size=batch_size,
            **kwargs,
        )
        if letters > MAX_LETTERS or letters**order > MAX_CONTEXTS:
            limits = f"--data.letters is at most {MAX_LETTERS}, and letters ** order at most {MAX_CONTEXTS:,}"
            raise UserError(f"--data.order {order}: too many contexts of {letters} letters; {limits}")
        self.letters, self.order, self.concentration, self.length = letters, order, concentration, length

    @cached_property
    def markov(self) -> MarkovSource:
        """The source."""
        return MarkovSource(self.letters, self.order, self.concentration, self.seed)

    @property
    def entropy(self) -> float:
        """Entropy rate of the source in bits per byte."""
        return self.markov.entropy

    @cached_property
    def content(self) -> str:
        """SHA-256 of the settings that determine the text."""
        settings = [self.letters, self.order, self.concentration, self.length, self.seed]
        return hashlib.sha256(json.dumps(settings).encode()).hexdigest()

    def read(self) -> Iterable[Piece]:
        """Draw the text."""
        return [Piece(0, self.markov.draw(self.length, self.seed))]
