"""What a tokenizer is: bytes of text as numbers, and back."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from typing import Any, ClassVar

import numpy as np

Ids = np.ndarray[Any, np.dtype[np.int32]]
END = "<|endoftext|>"  # name of the end of text, if a tokenizer has no other


class Tokenizer(ABC):
    """Turns any bytes into token ids, and ids back into the same bytes.

    Args:
        pieces: The bytes that each id stands for; b"" for special tokens.
        end: Id of the end-of-text token, which comes before each document.
        stops: Further ids that end a text that a model writes.
        begins: Whether the model has seen the end-of-text token before each text, so that a prompt starts with it.

    Attributes:
        kind: Name of the class in plain data.
        pieces: The bytes that each id stands for.
        end: Id of the end-of-text token.
        stops: All ids that end a text that a model writes.
        begins: Whether a prompt starts with the end-of-text token.
        chat_template: How conversations become texts, as a template of Jinja; None for a model of plain text.
        special: Ids of the special tokens by the names that templates write.
        bos: Name of the token that templates put before a text; empty for none.
        eos: Name of the token that templates put after an answer.
    """

    kind: ClassVar[str]
    chat_template: str | None = None

    def __init__(self, pieces: Sequence[bytes], end: int, stops: Iterable[int] = (), begins: bool = True) -> None:
        self.pieces, self.end, self.stops, self.begins = pieces, end, frozenset({end, *stops}), begins
        self.special: Mapping[str, int] = {END: end}
        self.bos = self.eos = END

    @property
    def vocab_size(self) -> int:
        """Number of ids, special tokens included."""
        return len(self.pieces)

    @cached_property
    def token_bytes(self) -> list[int]:
        """Number of bytes that each id stands for; 0 for special tokens."""
        return [len(piece) for piece in self.pieces]

    def prompt(self, data: bytes) -> list[int]:
        """Return the ids of the beginning of a text that a model continues; at least one."""
        ids = self.encode(data).tolist()
        return [self.end, *ids] if self.begins or not ids else ids

    @abstractmethod
    def encode(self, data: bytes) -> Ids:
        """Return the ids (tokens,) int32 of some bytes, without special tokens."""

    def decode(self, ids: Iterable[int]) -> bytes:
        """Return the bytes that ids stand for; special tokens stand for none."""
        return b"".join(map(self.pieces.__getitem__, np.asarray(ids).tolist()))

    @abstractmethod
    def arguments(self) -> dict[str, Any]:
        """Return the arguments that make the same tokenizer, as plain data."""

    def to_dict(self) -> dict[str, Any]:
        """Return the tokenizer as plain data, which `tokenizer_from_dict` reads."""
        template = {} if self.chat_template is None else {"chat_template": self.chat_template}
        return {"kind": self.kind, **self.arguments(), **template}


def tokenizer_from_dict(data: Mapping[str, Any]) -> Tokenizer:
    """Return the tokenizer that `to_dict` has described.

    Raises:
        ValueError, LookupError, TypeError: If the description is damaged.
    """
    arguments = dict(data)
    kinds, template = {kind.kind: kind for kind in Tokenizer.__subclasses__()}, arguments.pop("chat_template", None)
    tokenizer = kinds[arguments.pop("kind")](**arguments)
    tokenizer.chat_template = None if template is None else str(template)
    return tokenizer
