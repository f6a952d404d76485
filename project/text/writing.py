"""Text generation token by token, from any source of logits."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, Self

import numpy as np

from project.runtime.errors import UserError
from project.text.sampling import Numbers, Sampling, TextStream, log_probabilities, most_likely
from project.text.tokenizer import Tokenizer

Tokens = np.ndarray[Any, np.dtype[np.int64]]


class NextLogits(ABC):
    """Computes the logits of the next token of B sequences of equal length.

    When the context is full, its first half is dropped.

    Args:
        context: The largest number of tokens that the model sees.

    Attributes:
        window: The tokens that the model sees, (B, T).
    """

    def __init__(self, context: int) -> None:
        self.context = context
        self.window: Tokens = np.empty((0, 0), np.int64)

    def __call__(self, new: Sequence[Sequence[int]] | Tokens) -> Numbers:
        """Append tokens (B, T) to the sequences, and return the logits of the next token, (B, vocabulary)."""
        new = np.asarray(new, np.int64)
        starts = not len(self.window)
        self.window = new if starts else np.concatenate([self.window, new], axis=1)
        overflows = self.window.shape[1] > self.context
        if overflows:
            new = self.window = self.window[:, -(self.context if starts else max(1, self.context // 2)) :]
        return self.compute(new, starts or overflows)

    def restarted(self) -> Self:
        """Remove all tokens, and return this object for other sequences."""
        self.window = np.empty((0, 0), np.int64)
        return self

    @abstractmethod
    def compute(self, new: Tokens, afresh: bool) -> Numbers:
        """Return the logits (B, vocabulary) after new tokens (B, T). If `afresh`, these are the whole window."""


class Writing(NamedTuple):
    """Settings of text generation.

    Attributes:
        sampling: How each token is chosen.
        max_tokens: The largest number of tokens of a text.
        stop: Texts that end a generated text. They are not part of it.
        seed: Seed of the random numbers; each of the texts has its own generator.
        texts: Number of texts to generate in one batch.
        likeliest: Number of most likely tokens to report for each token.
    """

    sampling: Sampling = Sampling(0.8, 50, 0.9)
    max_tokens: int = 200
    stop: Sequence[str] = ()
    seed: int = 0
    texts: int = 1
    likeliest: int = 0

    def problem(self) -> str | None:
        """Return what is wrong with the settings; None if they are valid."""
        least = {"max_tokens": (self.max_tokens, 1), "count": (self.texts, 1), "seed": (self.seed, 0)}
        found = (f"{name}: must be {low} or more, got {value}" for name, (value, low) in least.items() if value < low)
        return self.sampling.problem() or next(found, None)

    def check_flags(self) -> None:
        """Raise a UserError that names the flag of a setting that is out of range."""
        if problem := self.problem():
            raise UserError(f"--{problem}")


class Generated(NamedTuple):
    """A generated text.

    Attributes:
        text: The text after the prompt.
        tokens: Its tokens, including those of a stop text or of the end of text, which `text` leaves out.
        log_probabilities: The log-probability of each token under the model, without temperature, top_k and top_p.
    """

    text: str
    tokens: list[int]
    log_probabilities: list[float]


class Writer:
    """Generates one text of a batch.

    Attributes:
        piece: The text that the last token completed; it may be empty.
        text: The text so far.
        tokens: Its tokens so far, including those of a stop text or of the end of text, which `text` leaves out.
        log_probabilities: The log-probability of each token under the model, without temperature, top_k and top_p.
        likeliest: The most likely tokens in the place of each, with their log-probabilities.
        is_done: Whether a stop text or the end of text has occurred.
    """

    def __init__(self, tokenizer: Tokenizer, writing: Writing, number: int) -> None:
        self.tokenizer, self.sampling, self._reported = tokenizer, writing.sampling, writing.likeliest
        self._stream, self._generator = TextStream(writing.stop), np.random.default_rng((writing.seed, number))
        self.piece = self.text = ""
        self.tokens: list[int] = []
        self.log_probabilities: list[float] = []
        self.likeliest: list[list[tuple[int, float]]] = []
        self.is_done = False

    def add(self, logits: Numbers) -> int:
        """Choose the next token from logits (vocabulary,), and return it."""
        self.piece = ""
        if self.is_done:
            return self.tokenizer.end
        token = self.sampling.choose(logits, self._generator)
        self.tokens.append(token)
        chances = log_probabilities(logits)
        self.log_probabilities.append(float(chances[token]))
        self.likeliest.append(most_likely(chances, self._reported) if self._reported else [])
        is_last = token in self.tokenizer.stops
        self._show(self.tokenizer.decode([token]), is_last)
        self.is_done = is_last or self._stream.stopped
        return token

    def finish(self) -> None:
        """Add the rest of the text, which was held back because it could have been the beginning of a stop text."""
        self._show(b"", True)

    def _show(self, data: bytes, is_last: bool) -> None:
        self.piece = self._stream.add(data, is_last)
        self.text += self.piece


def write(
    prompt: Sequence[int], next_logits: NextLogits, tokenizer: Tokenizer, writing: Writing
) -> Iterator[list[Writer]]:
    """Continue a prompt. Yield one writer for each of `writing.texts` texts, after each token and at the end.

    Args:
        prompt: One or more tokens; the model sees the last ones that fit into its context.
        next_logits: Computes the logits; its window must be empty.
        tokenizer: The tokenizer of the model.
        writing: Settings of text generation.
    """
    writers = [Writer(tokenizer, writing, number) for number in range(writing.texts)]
    new = [list(prompt)] * writing.texts
    for _ in range(writing.max_tokens):
        logits = next_logits(new)
        new = [[writer.add(row)] for writer, row in zip(writers, logits, strict=True)]
        yield writers
        if all(writer.is_done for writer in writers):
            break
    for writer in writers:
        writer.finish()
    yield writers


def generate_texts(
    prompt: str,
    next_logits: NextLogits,
    tokenizer: Tokenizer,
    writing: Writing,
    show: Callable[[str], object] | None = None,
) -> list[Generated]:
    """Continue a prompt and return the texts; call `show` with each piece of the first text as soon as possible."""
    writers, data = list[Writer](), prompt.encode("utf-8", "surrogateescape")
    for writers in write(tokenizer.prompt(data), next_logits, tokenizer, writing):
        if show is not None:
            show(writers[0].piece)
    return [Generated(writer.text, writer.tokens, writer.log_probabilities) for writer in writers]
