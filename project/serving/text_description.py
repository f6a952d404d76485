"""OpenAPI schemas of requests for text and of their answers."""

from typing import Any

from project.serving.limits import Limits
from project.serving.model import JSON
from project.serving.text_answer import EVENTS
from project.serving.text_request import MAX_STOP_LENGTH, MAX_STOPS
from project.text.writing import Writing

Schema = dict[str, Any]
ERRORS = {
    400: "The body is empty, or not JSON; or the request is for another host.",
    401: "The request lacks the server's token.",
    408: "The body did not arrive in time.",
    413: "The body or the prompt is too long, or the text would take too much memory.",
    415: "The content type or encoding of the body is not supported.",
    422: "A setting is unknown or out of its range; the detail names it.",
    431: "The headers are too large.",
    503: "The server is busy; try again.",
}


def request_body(limits: Limits) -> Schema:
    """Describe the body of a request to `/generate`."""
    standard, sampling = Writing(), Writing().sampling
    stop = {"type": "string", "minLength": 1, "maxLength": MAX_STOP_LENGTH}
    tokens = min(standard.max_tokens, limits.tokens)
    properties: Schema = {
        "prompt": {"type": "string", "default": "", "description": "Beginning of the text."},
        "max_tokens": {"type": "integer", "minimum": 1, "maximum": limits.tokens, "default": tokens},
        "temperature": {"type": "number", "minimum": 0, "default": sampling.temperature},
        "top_k": {"type": "integer", "minimum": 0, "default": sampling.top_k, "description": "0 for all tokens."},
        "top_p": {"type": "number", "exclusiveMinimum": 0, "maximum": 1, "default": sampling.top_p},
        "seed": {"type": ["integer", "null"], "minimum": 0, "description": "Random by default."},
        "stop": {
            "anyOf": [stop, {"type": "array", "items": stop, "maxItems": MAX_STOPS}, {"type": "null"}],
            "description": "Texts that end the answer; they are left out.",
        },
        "stream": {
            "type": "boolean",
            "default": False,
            "description": "Whether to send pieces as they are written.",
        },
    }
    schema = {"type": "object", "properties": properties, "additionalProperties": False}
    return {"required": True, "content": {JSON: {"schema": schema, "example": {"prompt": "In the beginning"}}}}


def responses() -> dict[int | str, Schema]:
    """Describe the answers of `/generate`, by status."""
    answer = {
        "type": "object",
        "properties": {
            "text": {"type": "string", "description": "The text after the prompt."},
            "tokens": {"type": "integer"},
            "end": {"enum": ["stop", "length", "time"], "description": "Why the text ends."},
            "seed": {"type": "integer"},
        },
        "required": ["text", "tokens", "end", "seed"],
    }
    events = 'Each event has a piece of the text, `{"text": "..."}`; the last one also has the other properties.'
    content = {JSON: {"schema": answer}, EVENTS: {"schema": {"type": "string", "description": events}}}
    properties = {"detail": {"type": "string"}}
    error = {JSON: {"schema": {"type": "object", "properties": properties, "required": ["detail"]}}}
    errors: dict[int | str, Schema] = {
        status: {"description": text, "content": error} for status, text in ERRORS.items()
    }
    return {200: {"description": "The text.", "content": content}} | errors
