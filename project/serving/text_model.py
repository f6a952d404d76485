"""A language model that answers requests for text."""

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from project.runtime.errors import UserError
from project.serving.limits import Limits
from project.serving.memory import MemoryBudget
from project.serving.model import JSON
from project.serving.openai_request import read_chat, read_completion
from project.serving.request_error import require
from project.serving.text_artifact import STEP_TOKENS, TextArtifact
from project.serving.text_reply import Piece
from project.serving.text_request import TextRequest, read_request
from project.text.chat_template import ChatTemplate
from project.text.writing import Writer, write

LOGIT_BYTES, CHOICE_BYTES = 4, 40  # memory of a logit, and of a token while one is chosen
Read = Callable[[bytearray, TextArtifact, Limits], TextRequest]


class TextModel:
    """Writes text for the bodies of requests.

    Args:
        artifact: What computes the logits.
        limits: Limits on requests.
        budget: Memory that all requests share, also those to the model before this one.

    Attributes:
        paths: What reads the bodies sent to each path.
    """

    content_types = (JSON,)

    def __init__(self, artifact: TextArtifact, limits: Limits, budget: MemoryBudget) -> None:
        self.artifact, self.limits, self.budget = artifact, limits, budget
        self.paths: dict[str, Read] = {
            "/generate": read_request,
            "/v1/completions": read_completion,
            "/v1/chat/completions": read_chat,
        }
        if artifact.tokenizer.chat_template is not None:
            artifact.tokenizer.stops = ChatTemplate(artifact.tokenizer).stops
        try:
            artifact.next_logits()([[artifact.tokenizer.end]])
        except Exception as error:
            raise UserError(f"{artifact.path}: cannot continue an empty text: {error}") from error

    def read(self, path: str, body: bytearray) -> TextRequest:
        """Return the request of a body that was sent to a path; raise a RequestError if it is invalid."""
        return self.paths[path](body, self.artifact, self.limits)

    def write(self, request: TextRequest, options: Any, stopped: threading.Event) -> Iterator[Piece]:
        """Yield texts piece by piece, until they are `stopped`; `options` are ONNX Runtime's RunOptions.

        Raises:
            RequestError: If the texts take too much memory.
        """
        latest = time.monotonic() + self.limits.seconds
        writing = request.writing
        needed = writing.texts * self._memory(min(self.artifact.context, len(request.prompt) + writing.max_tokens))
        problem = f"the text needs {needed / 2**20:.0f} MiB, more than the server may use; ask for fewer tokens"
        require(needed <= self.budget.size, 413, problem)
        with self.budget.reserve(needed):
            next_logits = self.artifact.next_logits(options)
            counts = [0] * writing.texts
            for writers in write(request.prompt, next_logits, self.artifact.tokenizer, writing):
                if stopped.is_set():
                    return
                is_late = time.monotonic() > latest
                for number, writer in enumerate(writers):
                    if counts[number] >= 0:
                        yield (piece := _piece(writer, number, counts[number], is_late))
                        counts[number] = len(writer.tokens) if piece.end is None else -1
                if is_late:
                    return

    def _memory(self, tokens: int) -> int:
        """Return the memory of a text of so many tokens."""
        vocabulary = self.artifact.metadata["out_features"]
        return tokens * self.artifact.token_bytes + vocabulary * (STEP_TOKENS * LOGIT_BYTES + CHOICE_BYTES)


def _piece(writer: Writer, number: int, count: int, is_late: bool) -> Piece:
    """Return what a writer has added after so many tokens."""
    is_last, text = len(writer.tokens) == count, writer.piece
    end = "stop" if writer.is_done else "length" if is_last else "time" if is_late else None
    if end is not None and not is_last:
        writer.finish()
        text += writer.piece
    return Piece(number, text, writer.tokens[count:], writer.log_probabilities[count:], end)
