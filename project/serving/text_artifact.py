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
STEP_TOKENS = 64  # tokens of a prompt that are computed at once; the logits of all would take too much memory
STEP_BYTES = 2**26  # the same limit for whole rows, in bytes of their logits


class TextArtifact(Artifact):
    """An exported language model that ONNX Runtime computes, with a cache.

    Args:
        path: An `.onnx` file written by scripts/export.py from a run of a language model.
        threads: Threads within one operation.

    Attributes:
        context: The largest number of tokens.
        caches: Number of heads and width of a head of each input that holds keys or values, by its name.
        tokenizer: The tokenizer of the model.

    Raises:
        UserError: If the file is missing or damaged, or not a language model of this project.
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

    def input_problem(self) -> str | None:
        """Return why inputs and outputs are not tokens, logits and the cache; None if they are."""
        if self.metadata["task"] != LANGUAGE:
            return f"a model of {self.metadata['task']} writes no text; pass a language model"
        [tokens, lengths, *past] = self.session.get_inputs()
        outputs = self.session.get_outputs()
        names = [tokens.name, lengths.name, outputs[0].name, *(each.name.removeprefix("past_") for each in past)]
        are_caches = all(len(each.shape) == 4 for each in past)
        if names != [TOKENS, LENGTHS, LOGITS, *(each.name for each in outputs[1:])] or not are_caches:
            return "its inputs are not tokens and a cache; export the run again"
        self.caches = {each.name: (each.shape[1], each.shape[3]) for each in past}
        return None

    @property
    def token_bytes(self) -> int:
        """Bytes of memory that a token takes: its keys and values, and a copy of them while the cache grows."""
        return 2 * 4 * sum(heads * width for heads, width in self.caches.values())

    def cache(self, rows: int, capacity: int) -> TextCache:
        """Return an empty cache for `rows` texts of up to `capacity` tokens."""
        return TextCache(self.session, self.caches, rows, capacity)

    def next_logits(self) -> "ArtifactLogits":
        """Return an object that computes the logits of the next token of new texts."""
        return ArtifactLogits(self)

    def predict(self, x: Any, options: Any = None) -> dict[str, Array]:
        """Return `outputs`: the logits (rows, T, vocabulary) after each token of x (rows, T), T at most the context."""
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
    """Load an exported model of rows or of text; raise a UserError if it is missing or damaged."""
    kind = TextArtifact if read_metadata(path)["task"] == LANGUAGE else Artifact
    return kind(path, threads)
