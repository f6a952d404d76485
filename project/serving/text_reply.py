"""Answers to requests for text: one JSON object, or events while the text is written."""

import json
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple


class Piece(NamedTuple):
    """A part of a text.

    Attributes:
        number: Which of the texts of a request it belongs to, from 0.
        text: The part, which may be empty.
        tokens: Its tokens, including those of a stop text or of the end of text, which `text` leaves out.
        log_probabilities: The log-probability of each token under the model itself.
        likeliest: The most likely tokens in the place of each token, with their log-probabilities.
        end: Why the text has ended: `stop` (a stop text or the end of text), `length` (`max_tokens`) or `time` (the
            server's time limit); None if it goes on.
    """

    number: int
    text: str
    tokens: list[int]
    log_probabilities: list[float]
    likeliest: list[list[tuple[int, float]]]
    end: str | None

    @classmethod
    def whole(cls, pieces: Sequence["Piece"]) -> "Piece":
        """Join all pieces of a text."""
        tokens = [token for piece in pieces for token in piece.tokens]
        log_probabilities = [value for piece in pieces for value in piece.log_probabilities]
        likeliest = [tokens for piece in pieces for tokens in piece.likeliest]
        text = "".join(piece.text for piece in pieces)
        return cls(pieces[0].number, text, tokens, log_probabilities, likeliest, pieces[-1].end)


class Reply(ABC):
    """The format of the answer to one request."""

    closing = b""  # after the last event

    @abstractmethod
    def whole(self, texts: list[Piece]) -> dict[str, Any]:
        """Return the answer with all texts."""

    @abstractmethod
    def events(self, piece: Piece) -> Iterator[bytes]:
        """Yield the server-sent events of a piece."""

    @abstractmethod
    def failure(self, problem: str) -> bytes:
        """Return the event that reports an error in the middle of a text."""


class GenerateReply(Reply):
    """Answers of `/generate`.

    Args:
        seed: Seed of the text.
    """

    def __init__(self, seed: int) -> None:
        self.seed, self._tokens = seed, 0

    def whole(self, texts: list[Piece]) -> dict[str, Any]:
        """Return text, number of tokens, end and seed."""
        [text] = texts
        return {"text": text.text, "tokens": len(text.tokens), "end": text.end, "seed": self.seed}

    def events(self, piece: Piece) -> Iterator[bytes]:
        """Yield the text of a piece; the last event has the other properties of `whole`, too."""
        self._tokens += len(piece.tokens)
        last = {} if piece.end is None else {"tokens": self._tokens, "end": piece.end, "seed": self.seed}
        if piece.text or last:
            yield event({"text": piece.text} | last)

    def failure(self, problem: str) -> bytes:
        """Return the event that reports an error in the middle of a text."""
        return event({"detail": problem}, "error")


def event(content: dict[str, Any], name: str = "") -> bytes:
    """Return a server-sent event.

    Source: https://html.spec.whatwg.org/multipage/server-sent-events.html
    """
    line = f"event: {name}\n" if name else ""
    return f"{line}data: {json.dumps(content, ensure_ascii=False)}\n\n".encode()
