"""Tokenizers from a `tokenizer.json`, with the library `tokenizers`."""

import json
from collections.abc import Sequence
from itertools import chain
from typing import Any

import numpy as np

from project.runtime.errors import UserError
from project.text.tokenizer import END, Ids, Tokenizer

ENDS = ("<|endoftext|>", "<|end_of_text|>", "<|eot_id|>", "<eos>", "</s>")  # names of the end of text in public models
MAX_IDS = 2**24
SUPPORTED = "only byte-level tokenizers are supported, such as those of GPT-2, Llama 3, Qwen and SmolLM"


class JsonTokenizer(Tokenizer):
    """A byte-level tokenizer in the format of Hugging Face.

    The name of a special token in a text is encoded as ordinary text, not as the token.

    Args:
        text: Content of the file.
        size: Number of ids of the model, if it has more than the file. The additional ids are unused.
        end: Id of the token between documents; by default that of a usual name, such as `<|endoftext|>`.
        stops: Further ids that end a generated text.
        begins: Whether a prompt starts with `end`. None reads this from the file: if the file puts a token in front of
            a text, prompts start with this token, and it is the default of `end`.
        bos: Name of the token that templates put before a text; by default that of `end`, if a prompt starts with it.
        eos: Name of the token that templates put after an answer; by default that of the first further id, or `end`.

    Raises:
        UserError: If the library is not installed, or the tokens do not represent bytes.
        ValueError: If the file is damaged, or has more tokens than the model.
    """

    kind = "json"

    def __init__(
        self,
        text: str,
        size: int | None = None,
        end: int | None = None,
        stops: Sequence[int] = (),
        begins: bool | None = True,
        bos: str | None = None,
        eos: str | None = None,
    ) -> None:
        try:
            from tokenizers import Tokenizer as Library
        except ImportError as error:
            raise UserError('--data.tokenizer: needs tokenizers; run pip install -e ".[text]"') from error
        try:
            self._library, description = Library.from_str(text), json.loads(text)
        except Exception as error:  # the library raises plain exceptions
            raise ValueError(f"not a tokenizer.json: {error}") from error
        self._library.no_truncation()
        self._library.no_padding()
        self._library.encode_special_tokens = True
        if "ByteLevel" not in json.dumps(description.get("decoder")):
            raise UserError(f"--data.tokenizer: its tokens are not bytes; {SUPPORTED}")
        if begins is None:
            front = self._front()
            end, begins = front if end is None else end, front is not None
        vocabulary, added = self._library.get_vocab(), description.get("added_tokens") or []
        names = {token["content"] for token in added}
        named = (vocabulary[name] for name in ENDS if name in names and name in vocabulary)
        count = max(vocabulary.values(), default=-1) + 1
        if end is None:
            end = next(chain(named, stops), count)  # a new id if there is no other
        if not 0 <= end < (size or MAX_IDS) or count > (size or MAX_IDS):
            raise ValueError(
                f"it has {count:,} tokens and the end of text {end:,}, but the network {size or MAX_IDS:,}"
            )
        try:
            pieces = _pieces(vocabulary, added, max(size or count, end + 1))
        except LookupError as error:
            raise ValueError(f"the letter {error} in its tokens represents no byte") from error
        super().__init__(pieces, end, stops, begins)
        self.text = text
        self.special = {token["content"]: token["id"] for token in added if token["special"]}
        shown = {token["id"]: token["content"] for token in added}
        if end not in shown:
            shown[end] = END
            self.special[END] = end
        self.bos = bos if bos is not None else shown[end] if begins else ""
        self.eos = eos if eos is not None else shown.get(min(self.stops - {end}, default=end), shown[end])
        options = {"size": size, "end": end, "stops": [*stops], "begins": begins, "bos": self.bos, "eos": self.eos}
        self._options = options if size is not None else {}

    def _front(self) -> int | None:
        """Return the id of the token that the file puts in front of a text; None if there is no such token."""
        plain, full = (self._library.encode("a", add_special_tokens=special).ids for special in (False, True))
        return full[0] if full[:1] != plain[:1] else None

    def encode(self, data: bytes) -> Ids:
        """Return the ids of a text in UTF-8, (tokens,) int32.

        Raises:
            UserError: If the bytes are not UTF-8, or the tokens would be decoded to another text.
        """
        try:
            ids = np.array(self._library.encode(data.decode(), add_special_tokens=False).ids, np.int32)
        except UnicodeDecodeError as error:
            raise UserError(f"--data.tokenizer: the text is not UTF-8 ({error.reason}); use bytes or bpe") from error
        if self.decode(ids) != data:
            raise UserError("--data.tokenizer: it changes the text (by a normalizer or a space in front); use another")
        return ids

    def arguments(self) -> dict[str, Any]:
        """Return the arguments as plain data."""
        return {"text": self.text, **self._options}


def _pieces(vocabulary: dict[str, int], added: list[dict[str, Any]], size: int) -> list[bytes]:
    """Return the bytes of each id; b"" for special tokens and unused ids."""
    pieces = [b""] * size
    others = {token["content"]: token for token in added}
    alphabet = letters()
    for token, number in vocabulary.items():
        if token not in others:
            pieces[number] = bytes(alphabet[letter] for letter in token)
        elif not others[token]["special"]:
            pieces[number] = token.encode()
    return pieces


def letters() -> dict[str, int]:
    """Return the byte that each letter in GPT-2's vocabulary represents. The letters avoid spaces and controls."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(256 + place): byte for place, byte in enumerate(others)}
