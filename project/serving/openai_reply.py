"""Answers in the format of OpenAI's API.

Source: https://platform.openai.com/docs/api-reference/completions
"""

import json
import secrets
import time
from collections.abc import Iterator
from typing import Any, ClassVar

from project.serving.request_error import RequestError
from project.serving.text_artifact import TextArtifact
from project.serving.text_reply import Piece, Reply, event

PREFIX = "/v1/"
ENDS = {"stop": "stop", "length": "length", "time": "length"}
CODES = {401: "invalid_api_key", 404: "model_not_found"}
INVALID, FAILED = "invalid_request_error", "server_error"


class CompletionReply(Reply):
    """Answers of `/v1/completions`.

    Args:
        artifact: The model.
        prompt_tokens: Number of tokens of the prompt.
        texts: Number of texts.
        has_usage: Whether the last event has the numbers of tokens.
        has_log_probabilities: Whether the answer has the log-probability of each token.
    """

    closing = b"data: [DONE]\n\n"
    prefix: ClassVar[str] = "cmpl-"
    kinds: ClassVar[tuple[str, str]] = ("text_completion", "text_completion")  # of an answer, and of an event

    def __init__(
        self, artifact: TextArtifact, prompt_tokens: int, texts: int, has_usage: bool, has_log_probabilities: bool
    ) -> None:
        self.tokenizer, self.model, self.prompt_tokens = artifact.tokenizer, artifact.path.stem, prompt_tokens
        self.has_usage, self.has_log_probabilities = has_usage, has_log_probabilities
        self.id, self.created = self.prefix + secrets.token_hex(12), int(time.time())
        self._written, self._running = 0, texts

    def whole(self, texts: list[Piece]) -> dict[str, Any]:
        """Return a choice for each text, and the numbers of tokens."""
        self._written = sum(len(text.tokens) for text in texts)
        choices = [self._choice(text, self.whole_text(text.text)) for text in texts]
        return self._object(self.kinds[0], choices) | {"usage": self.usage()}

    def events(self, piece: Piece) -> Iterator[bytes]:
        """Yield the piece as a choice, and after the last one the numbers of tokens if `has_usage`."""
        self._written += len(piece.tokens)
        if piece.text or piece.end or self.has_log_probabilities:
            yield self._chunk([self._choice(piece, self.text_part(piece.text))])
        self._running -= piece.end is not None
        if not self._running and self.has_usage:
            yield self._chunk([], self.usage())

    def failure(self, problem: str) -> bytes:
        """Return the event that reports an error in the middle of a text."""
        return event(error_object(problem, FAILED))

    def whole_text(self, text: str) -> dict[str, Any]:
        """Return the field of a choice that holds a whole text."""
        return {"text": text}

    def text_part(self, text: str) -> dict[str, Any]:
        """Return the field of an event's choice that holds a part of a text."""
        return {"text": text}

    def log_probabilities(self, piece: Piece) -> dict[str, Any]:
        """Return the tokens of a piece and their log-probabilities."""
        tokens = [self._text(token) for token in piece.tokens]
        likeliest = [{self._text(token): chance for token, chance in found} for found in piece.likeliest]
        found = likeliest if any(likeliest) else None
        return {"tokens": tokens, "token_logprobs": piece.log_probabilities, "top_logprobs": found}

    def _text(self, token: int) -> str:
        return self.tokenizer.decode([token]).decode(errors="replace")

    def usage(self) -> dict[str, int]:
        """Return numbers of tokens."""
        total = self.prompt_tokens + self._written
        return {"prompt_tokens": self.prompt_tokens, "completion_tokens": self._written, "total_tokens": total}

    def _choice(self, piece: Piece, text: dict[str, Any]) -> dict[str, Any]:
        found = self.log_probabilities(piece) if self.has_log_probabilities else None
        end = None if piece.end is None else ENDS[piece.end]
        return {"index": piece.number, **text, "logprobs": found, "finish_reason": end}

    def _chunk(self, choices: list[dict[str, Any]], usage: dict[str, int] | None = None) -> bytes:
        content = self._object(self.kinds[1], choices)
        return event(content | {"usage": usage} if self.has_usage else content)

    def _object(self, kind: str, choices: list[dict[str, Any]]) -> dict[str, Any]:
        return {"id": self.id, "object": kind, "created": self.created, "model": self.model, "choices": choices}


class ChatReply(CompletionReply):
    """Answers of `/v1/chat/completions`.

    Source: https://platform.openai.com/docs/api-reference/chat
    """

    prefix = "chatcmpl-"
    kinds = ("chat.completion", "chat.completion.chunk")

    def whole_text(self, text: str) -> dict[str, Any]:
        """Return the field of a choice that holds a whole text."""
        return {"message": {"role": "assistant", "content": text, "refusal": None}}

    def text_part(self, text: str) -> dict[str, Any]:
        """Return the field of an event's choice that holds a part of a text."""
        return {"delta": {"role": "assistant", "content": text}}

    def log_probabilities(self, piece: Piece) -> dict[str, Any]:
        """Return the tokens of a piece and their log-probabilities."""
        places = zip(piece.tokens, piece.log_probabilities, piece.likeliest, strict=True)
        content = [
            self._token(token, value) | {"top_logprobs": [self._token(*each) for each in likeliest]}
            for token, value, likeliest in places
        ]
        return {"content": content, "refusal": None}

    def _token(self, token: int, value: float) -> dict[str, Any]:
        return {"token": self._text(token), "bytes": [*self.tokenizer.decode([token])], "logprob": value}


def openai_error(error: RequestError) -> tuple[int, bytes]:
    """Return status and body of an error, with the statuses that OpenAI's API uses."""
    status = 400 if error.status == 422 else error.status
    name, colon, _ = error.detail.partition(": ")
    kind = FAILED if status >= 500 else INVALID
    content = error_object(error.detail, kind, name if colon and name.isidentifier() else None, CODES.get(status))
    return status, json.dumps(content).encode()


def error_object(problem: str, kind: str, field: str | None = None, code: str | None = None) -> dict[str, Any]:
    """Return an error in the format of OpenAI's API."""
    return {"error": {"message": problem, "type": kind, "param": field, "code": code}}
