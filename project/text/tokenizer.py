"""Base class of all tokenizers, which convert bytes of text to ids and back."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from typing import Any, ClassVar

import numpy as np

Ids = np.ndarray[Any, np.dtype[np.int32]]
END = "<|endoftext|>"  # name of the end of text, if a tokenizer has no other


class Tokenizer(ABC):
    """Converts bytes to token ids, and ids back to the same bytes.

    Args:
        pieces: The bytes that each id represents; b"" for special tokens.
        end: Id of the end-of-text token, which comes before each document.
        stops: Further ids that end a generated text.
        begins: Whether each training text started with the end-of-text token, so that prompts start with it, too.

    Attributes:
        kind: Name of the class in plain data.
        pieces: The bytes that each id represents.
        end: Id of the end-of-text token.
        stops: All ids that end a generated text.
        begins: Whether prompts start with the end-of-text token.
        chat_template: Jinja template that converts conversations to text; None for a model of plain text.
        special: The id of each special token, by its name in templates.
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
        """Number of bytes that each id represents; 0 for special tokens."""
        return [len(piece) for piece in self.pieces]

    def prompt(self, data: bytes) -> list[int]:
        """Return the ids of a prompt, at least one."""
        ids = self.encode(data).tolist()
        return [self.end, *ids] if self.begins or not ids else ids

    @abstractmethod
    def encode(self, data: bytes) -> Ids:
        """Return the ids of some bytes, (tokens,) int32, without special tokens."""

    def decode(self, ids: Iterable[int]) -> bytes:
        """Return the bytes that ids represent; special tokens represent none."""
        return b"".join(map(self.pieces.__getitem__, np.asarray(ids).tolist()))

    @abstractmethod
    def arguments(self) -> dict[str, Any]:
        """Return the arguments of the constructor, as plain data."""

    def to_dict(self) -> dict[str, Any]:
        """Return the tokenizer as plain data, which `tokenizer_from_dict` reads."""
        template = {} if self.chat_template is None else {"chat_template": self.chat_template}
        return {"kind": self.kind, **self.arguments(), **template}


def tokenizer_from_dict(data: Mapping[str, Any]) -> Tokenizer:
    """Return the tokenizer from what `Tokenizer.to_dict` returned.

    Raises:
        ValueError, LookupError, TypeError: If the description is damaged.
    """
    arguments = dict(data)
    kinds, template = {kind.kind: kind for kind in Tokenizer.__subclasses__()}, arguments.pop("chat_template", None)
    tokenizer = kinds[arguments.pop("kind")](**arguments)
    tokenizer.chat_template = None if template is None else str(template)
    return tokenizer
