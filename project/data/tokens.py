"""Base class of the data modules whose rows are tokens."""

import hashlib
import json
from abc import abstractmethod
from collections.abc import Mapping
from functools import cached_property
from typing import Any

from project.data.datamodule import RowsDataModule, Splits
from project.data.split import check_fractions
from project.runtime.address import local_path
from project.runtime.errors import UserError
from project.runtime.ranges import OpenUnitInterval, PositiveInt
from project.text import ByteTokenizer, JsonTokenizer, Tokenizer, tokenizer_from_dict


class TokensDataModule(RowsDataModule):
    """Base class for language modelling: x has tokens (context,), y the token after each of them; both are int64.

    Args:
        path: Path of the text.
        tokenizer: `bytes`; `bpe`, which learns the most frequent pieces of words; or the path of a `tokenizer.json`.
        vocab_size: Number of tokens that a tokenizer learns, including the end-of-text token.
        context: Number of tokens in a window.
        val_fraction: Fraction to validate on.
        test_fraction: Fraction to test on.
        batch_size: Windows per batch and process.
        **kwargs: Arguments of `RowsDataModule`.

    Attributes:
        known: The tokenizer of another run, as plain data, which is used instead of a new one; None for a new one.
    """

    # Statistics of token ids have no meaning.
    feature_statistics: Any = None
    target_statistics: Any = None
    feature_means: Any = None
    default_epochs = 3
    has_pairs = False  # whether a window contains a chosen and a rejected answer

    def __init__(
        self,
        path: str,
        tokenizer: str,
        vocab_size: PositiveInt,
        context: PositiveInt,
        val_fraction: OpenUnitInterval,
        test_fraction: OpenUnitInterval,
        batch_size: PositiveInt,
        **kwargs: Any,
    ) -> None:
        super().__init__(batch_size, **kwargs)
        self.feature_names, self.target_names = ["tokens"], ["next tokens"]
        check_fractions(val_fraction, test_fraction)
        self.source, self.path, self.context, self.learned_size = path, path, context, vocab_size
        self.val_fraction, self.test_fraction, self.tokenizer_name = val_fraction, test_fraction, tokenizer
        if tokenizer not in ("bytes", "bpe") and not tokenizer.lower().endswith(".json"):
            raise UserError(f"--data.tokenizer: must be bytes, bpe or the path of a tokenizer.json, got {tokenizer}")
        self.known: Mapping[str, Any] | None = None

    @cached_property
    def tokenizer(self) -> Tokenizer:
        """The tokenizer, which is learned from the training split or belongs to another run."""
        if self.known:
            return tokenizer_from_dict(self.known)
        if self.tokenizer_name == "bpe":
            return self.learn_tokenizer()
        return ByteTokenizer() if self.tokenizer_name == "bytes" else _read_tokenizer(self.tokenizer_name)

    @abstractmethod
    def learn_tokenizer(self) -> Tokenizer:
        """Learn a tokenizer from the training split."""

    @classmethod
    def default_model(cls, arguments: Mapping[str, Any]) -> str:
        """Return the class path of a language model."""
        return "project.models.LanguageModel"

    @property
    @abstractmethod
    def content(self) -> str:
        """SHA-256 of the files."""

    @cached_property
    def splits(self) -> Splits:
        """The windows of each split."""
        if self.sampling.is_active or self.sampling.bootstrap is not None:
            raise UserError("--sampling: is not supported for text, which has no labelled rows; remove it")
        return self.load()

    @property
    def token_bytes(self) -> list[int]:
        """Number of bytes that each token represents."""
        return self.tokenizer.token_bytes

    @property
    def in_shape(self) -> tuple[int, ...]:
        """Shape of one window, (context,)."""
        return (self.context,)

    @property
    def out_features(self) -> int:
        """Number of tokens in the vocabulary."""
        return self.tokenizer.vocab_size

    @property
    def fields(self) -> list[dict[str, Any]]:
        """The schema as plain data: one field of text with the tokenizer."""
        return [{"name": "text", "kind": "text", "tokenizer": self.tokenizer.to_dict()}]

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of the files and of the tokenizer."""
        return hashlib.sha256(json.dumps([self.content, self.fields]).encode()).hexdigest()


def _read_tokenizer(path: str) -> Tokenizer:
    try:
        return JsonTokenizer(local_path(path).read_text(encoding="utf-8"))
    except UserError:
        raise
    except ValueError as error:  # also if it is not UTF-8
        raise UserError(f"{path}: {error}") from error
