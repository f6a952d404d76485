"""A language model that answers requests for text."""

import threading
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

from project.runtime.errors import UserError
from project.serving.limits import Limits
from project.serving.memory import MemoryBudget
from project.serving.model import JSON
from project.serving.request_error import RequestError, require
from project.serving.text_artifact import STEP_TOKENS, TextArtifact
from project.serving.text_request import TextRequest, read_request
from project.text.writing import write

# Characters of a prompt: of any, and for each token of a context.
MIN_PROMPT, TOKEN_CHARACTERS = 2**16, 16
LOGIT_BYTES, CHOICE_BYTES = 4, 40  # memory of a logit, and of a token while one is chosen


class Piece(NamedTuple):
    """A part of a text.

    Attributes:
        text: The part, which may be empty.
        tokens: Number of tokens of the text so far.
        end: Why it has ended: `stop`, by a stop text or the end of text; `length`, by `max_tokens`; `time`, by the
            server's time limit. None before.
    """

    text: str
    tokens: int
    end: str | None


class TextModel:
    """Writes text for the bodies of requests.

    Args:
        artifact: What computes the logits.
        limits: Limits on requests.
        budget: Memory that all requests share, also those to the model before this one.
    """

    path = "/generate"
    content_types = (JSON,)

    def __init__(self, artifact: TextArtifact, limits: Limits, budget: MemoryBudget) -> None:
        self.artifact, self.limits, self.budget = artifact, limits, budget
        self.max_prompt = max(MIN_PROMPT, TOKEN_CHARACTERS * artifact.context)
        try:
            artifact.next_logits()([[artifact.tokenizer.end]])
        except Exception as error:
            raise UserError(f"{artifact.path}: cannot continue an empty text: {error}") from error

    def read(self, body: bytearray) -> TextRequest:
        """Return the request of a body; raise a RequestError if it is invalid."""
        return read_request(body, self.limits, self.max_prompt)

    def write(self, request: TextRequest, options: Any, stopped: threading.Event) -> Iterator[Piece]:
        """Yield a text piece by piece, until it is `stopped`; `options` are ONNX Runtime's RunOptions.

        Raises:
            RequestError: If the text takes too much memory, or the tokenizer cannot represent the prompt.
        """
        latest = time.monotonic() + self.limits.seconds
        try:
            prompt = self.artifact.tokenizer.prompt(request.prompt.encode())
        except UserError as error:
            raise RequestError(422, f"prompt: {error}") from None
        needed = self._memory(min(self.artifact.context, len(prompt) + request.writing.max_tokens))
        problem = f"the text needs {needed / 2**20:.0f} MiB, more than the server may use; ask for fewer tokens"
        require(needed <= self.budget.size, 413, problem)
        with self.budget.reserve(needed):
            next_logits = self.artifact.next_logits(options)
            count = 0
            for [writer] in write(prompt, next_logits, self.artifact.tokenizer, request.writing):
                if stopped.is_set():
                    return
                is_last, count = len(writer.tokens) == count, len(writer.tokens)
                is_late = not is_last and not writer.is_done and time.monotonic() > latest
                end = ("stop" if writer.is_done else "length") if is_last else "time" if is_late else None
                text = writer.piece
                if is_late:
                    writer.finish()
                    text += writer.piece
                yield Piece(text, count, end)
                if is_late:
                    return

    def _memory(self, tokens: int) -> int:
        """Return the memory of a text of so many tokens."""
        vocabulary = self.artifact.metadata["out_features"]
        return tokens * self.artifact.token_bytes + vocabulary * (STEP_TOKENS * LOGIT_BYTES + CHOICE_BYTES)
