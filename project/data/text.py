"""Text as windows of tokens."""

import hashlib
import json
from collections.abc import Iterable, Iterator
from functools import cached_property
from itertools import chain, pairwise
from pathlib import Path
from typing import Any

import numpy as np

from project.data.datamodule import Splits
from project.data.documents import Documents, Piece
from project.data.text_split import SPLITS, By, TextSplit
from project.data.token_files import TokenFiles, cache_folder, locked, read_tokens, write_tokens
from project.data.tokens import TokensDataModule
from project.data.windows import Windows
from project.runtime.errors import UserError
from project.runtime.files import atomic_write
from project.runtime.ranges import OpenUnitInterval, PositiveInt
from project.text import BPETokenizer, Tokenizer, tokenizer_from_dict

FORMAT = 1  # version of the token files; increase it when their content changes
MANY_DOCUMENTS = 100  # with as many documents, whole documents are split by default
LEARNED_BYTES = 2**26  # maximum number of bytes from which a tokenizer is learned
SEARCHED_TOKENS = 2**20  # tokens that are searched at once for the starts of documents


class TextDataModule(TokensDataModule):
    """Language modelling: x is a window of tokens (context,), y the token after each of them; both are int64.

    The text is read piece by piece and tokenized once, into memory-mapped files, so it may be larger than memory. The
    tokenizer is learned only from the training split, and is part of the run. Each split and each document starts with
    the end-of-text token.

    An epoch of training visits adjacent windows in random order, from an offset that differs between epochs. In
    validation and test, each token is a target exactly once; repeated targets are -100.

    Args:
        path: A file of text or any bytes, JSON lines (`.jsonl`), Parquet, a folder of such files, an address, or the
            name of a bundled corpus, `kjv`.
        tokenizer: `bytes`; `bpe`, which learns the most frequent pieces of words; or the path of a `tokenizer.json`.
            A run that starts from another one keeps the tokenizer of that run.
        vocab_size: Number of tokens that a tokenizer learns, including the end-of-text token.
        context: Number of tokens in a window.
        column: Name of the field with the text in JSON lines and Parquet.
        split: `position` tests on the last bytes and validates on those before them; `documents` splits whole documents
            at random. The default is `documents` if there are 100 or more.
        val_fraction: Fraction of the bytes to validate on.
        test_fraction: Fraction of the bytes to test on.
        cache: Folder for the tokens; by default ~/.cache/hello-lightning/tokens.
        batch_size: Windows per batch and process.
        **kwargs: Arguments of `RowsDataModule`.
    """

    def __init__(
        self,
        path: str = "kjv",
        tokenizer: str = "bpe",
        vocab_size: PositiveInt = 1_024,
        context: PositiveInt = 256,
        column: str = "text",
        split: By | None = None,
        val_fraction: OpenUnitInterval = 0.05,
        test_fraction: OpenUnitInterval = 0.1,
        cache: str | None = None,
        batch_size: PositiveInt = 16,
        **kwargs: Any,
    ) -> None:
        super().__init__(path, tokenizer, vocab_size, context, val_fraction, test_fraction, batch_size, **kwargs)
        self.column, self.split = column, split
        self.cache = Path(cache) if cache else cache_folder()

    def learn_tokenizer(self) -> Tokenizer:
        """Learn a tokenizer from the training split, or return the one that an earlier run has stored in the cache."""
        path = self._place(self.learned_size).with_suffix(".json")
        with locked(path):
            if not path.exists():
                parts = (part.data for part in self._division.divide(self.read()) if part.split == "train")
                learned = BPETokenizer.train(_first(parts, LEARNED_BYTES), self.learned_size)
                with atomic_write(path) as temporary:
                    temporary.write_text(json.dumps(learned.to_dict()), encoding="utf-8")
        return tokenizer_from_dict(json.loads(path.read_text(encoding="utf-8")))

    @cached_property
    def files(self) -> TokenFiles:
        """The token files, which are written on first use."""
        folder = self._place(self.tokenizer.to_dict())
        if (found := read_tokens(folder)) is not None:
            return found
        with locked(folder):
            parts = self._division.divide(self.read())
            return read_tokens(folder) or write_tokens(folder, parts, self.tokenizer)

    def _place(self, tokenizer: Any) -> Path:
        """Return the path in the cache for files that depend on this text, its split and a tokenizer."""
        seed = None if self.split == "position" else self.seed
        settings = [FORMAT, self.content, self.split, self.val_fraction, self.test_fraction, seed, tokenizer]
        return self.cache / hashlib.sha256(json.dumps(settings).encode()).hexdigest()[:32]

    @cached_property
    def content(self) -> str:
        """SHA-256 of the files."""
        return Documents(self.path, self.column).fingerprint()

    def read(self) -> Iterable[Piece]:
        """Return the text, piece by piece."""
        return Documents(self.path, self.column)

    @cached_property
    def _division(self) -> TextSplit:
        lengths = [0]
        for document, data in self.read():
            lengths += [0] * (document + 1 - len(lengths))
            lengths[document] += len(data)
        if not any(lengths):
            raise UserError(f"{self.path}: no text")
        by = self.split or ("documents" if len(lengths) >= MANY_DOCUMENTS else "position")
        return TextSplit(np.array(lengths), self.val_fraction, self.test_fraction, by, self.seed)

    def load(self) -> Splits:
        """Return the windows of each split."""
        return Splits(*(self._windows(split) for split in SPLITS))

    def _windows(self, split: str) -> Windows:
        tokens = self.files.tokens(split)
        if len(tokens) <= self.context:
            problem = f"the {split} split has {len(tokens):,} tokens, fewer than a window of {self.context:,}"
            raise UserError(f"{self.path}: {problem}; add text, or lower --data.context")
        return Windows(tokens, self.context)

    @property
    def split_bytes(self) -> dict[str, int]:
        """Number of bytes of the text of each split."""
        return dict(self.files.facts["bytes"])

    @property
    def documents(self) -> dict[str, int]:
        """Number of documents, or parts of documents, in each split."""
        return dict(self.files.facts["documents"])

    def text(self, split: str) -> bytes:
        """Return the concatenated documents of a split, which must fit into memory."""
        return b"".join(self.texts(split))

    def texts(self, split: str) -> Iterator[bytes]:
        """Yield the documents of a split."""
        ids = self.files.tokens(split).numpy()
        ids = ids.view(np.uint16) if ids.dtype == np.int16 else ids
        blocks, end_token = range(0, len(ids), SEARCHED_TOKENS), self.tokenizer.end
        starts = (np.flatnonzero(ids[block : block + SEARCHED_TOKENS] == end_token) + block for block in blocks)
        for start, end in pairwise(chain(chain.from_iterable(starts), [len(ids)])):
            yield self.tokenizer.decode(ids[start:end])


def _first(parts: Iterable[bytes], size: int) -> Iterator[bytes]:
    """Yield parts until their total size reaches `size`."""
    for part in parts:
        yield part
        size -= len(part)
        if size <= 0:
            return
