"""An exported language model: an ONNX file with the keys and values of earlier tokens among its inputs and outputs."""

from pathlib import Path
from typing import Any

import numpy as np

from project.runtime.errors import UserError
from project.serving.artifact import Array, Artifact
from project.serving.metadata import LANGUAGE, read_metadata
from project.serving.text_cache import TextCache
from project.text import tokenizer_from_dict
from project.text.writing import NextLogits, Tokens

TOKENS, LENGTHS, LOGITS = "tokens", "lengths", "logits"
STEP_TOKENS = 64  # of a prompt, computed at once: their logits take memory
STEP_BYTES = 2**26  # of logits of rows, computed at once


class TextArtifact(Artifact):
    """An exported language model that ONNX Runtime computes, with a cache.

    Args:
        path: An `.onnx` file written by scripts/export.py from a run of a language model.
        threads: Threads within one operation.

    Attributes:
        context: The largest number of tokens.
        caches: Heads, and the width of each, of the inputs that are keys or values.
        tokenizer: The tokenizer of the model.

    Raises:
        UserError: If the file is missing, damaged, or no language model of this project.
    """

    def __init__(self, path: str | Path, threads: int = 1) -> None:
        super().__init__(path, threads)
        self.context = self.metadata["in_shape"][0]
        fields: Any = self.metadata["fields"]
        try:
            self.tokenizer = tokenizer_from_dict(fields[0]["tokenizer"])
        except (ValueError, LookupError, TypeError) as error:
            raise UserError(f"{path}: its tokenizer is damaged ({error}); export the run again") from error
        self.outputs = ["outputs"]

    def check_inputs(self) -> None:
        """Raise a UserError unless inputs and outputs are tokens, logits and the cache."""
        if self.metadata["task"] != LANGUAGE:
            raise UserError(f"{self.path}: a model of {self.metadata['task']} writes no text; pass a language model")
        [tokens, lengths, *past] = self.session.get_inputs()
        outputs = self.session.get_outputs()
        names = [tokens.name, lengths.name, outputs[0].name, *(each.name.removeprefix("past_") for each in past)]
        are_caches = all(len(each.shape) == 4 for each in past)
        if names != [TOKENS, LENGTHS, LOGITS, *(each.name for each in outputs[1:])] or not are_caches:
            raise UserError(f"{self.path}: its inputs are not tokens and a cache; export the run again")
        self.caches = {each.name: (each.shape[1], each.shape[3]) for each in past}

    @property
    def token_bytes(self) -> int:
        """Memory of a token of a text in bytes: its keys and values, and their copy when a cache grows."""
        return 2 * 4 * sum(heads * width for heads, width in self.caches.values())

    def cache(self, rows: int, room: int) -> TextCache:
        """Return an empty cache for so many texts of up to so many tokens."""
        return TextCache(self.session, self.caches, rows, room)

    def next_logits(self) -> "ArtifactLogits":
        """Return what computes the logits of the next token of new texts."""
        return ArtifactLogits(self)

    def predict(self, x: Any, options: Any = None) -> dict[str, Array]:
        """Return `outputs`: the logits (rows, T, vocabulary) after each token of x (rows, T), 1 to context of them."""
        size = max(1, STEP_BYTES // (4 * x.shape[1] * self.metadata["out_features"]))
        parts = [x[start : start + size].astype(np.int64) for start in range(0, max(len(x), 1), size)]
        return {"outputs": np.concatenate([self.cache(*part.shape).step(part, options) for part in parts])}


class ArtifactLogits(NextLogits):
    """The logits of an exported model.

    Args:
        artifact: The model.
    """

    def __init__(self, artifact: TextArtifact) -> None:
        super().__init__(artifact.context)
        self.artifact = artifact
        self._cache = artifact.cache(0, 0)

    def compute(self, new: Tokens, afresh: bool) -> Array:
        """Return the logits (B, vocabulary) after new tokens (B, T), which are the whole window if `afresh`."""
        if afresh:
            self._cache = self.artifact.cache(len(new), self.context)
        for start in range(0, new.shape[1], STEP_TOKENS):
            logits = self._cache.step(new[:, start : start + STEP_TOKENS])
        return logits[:, -1]


def load_artifact(path: str | Path, threads: int = 1) -> Artifact:
    """Load an exported model, which predicts rows or writes text; raise a UserError if it cannot be."""
    kind = TextArtifact if read_metadata(path)["task"] == LANGUAGE else Artifact
    return kind(path, threads)
