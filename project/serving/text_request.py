"""A request to a language model, read from JSON."""

import secrets
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from project.runtime.errors import UserError
from project.serving.limits import Limits
from project.serving.request_error import parse_json, quoted, request_errors, require
from project.serving.text_artifact import TextArtifact
from project.serving.text_reply import GenerateReply, Reply
from project.text.sampling import Sampling
from project.text.writing import Writing

MAX_STOPS, MAX_STOP_LENGTH = 16, 1_000
SEEDS = 2**32  # a random seed is below this
MAX_NUMBER = 2**53  # above it, not every integer is a float
# A prompt may have this many characters, or so many for each token of the context if that is more.
MIN_PROMPT, TOKEN_CHARACTERS = 2**16, 16
EXPECTED = 'expected {"prompt": "..."}, and optionally max_tokens, temperature, top_k, top_p, seed, stop and stream'


class TextRequest(NamedTuple):
    """What a client asks for.

    Attributes:
        prompts: Tokens of each prompt; each prompt gets the same number of texts.
        writing: Settings of the generation; the seed is random unless the request has one.
        stream: Whether the answer is sent piece by piece.
        reply: Format of the answer.
    """

    prompts: list[list[int]]
    writing: Writing
    stream: bool
    reply: Reply


Kind = tuple[str, Callable[[Any], bool]]


def read_request(body: bytearray, artifact: TextArtifact, limits: Limits) -> TextRequest:
    """Return the request of a body of `/generate`, in JSON.

    Raises:
        RequestError: If it is not a request, or a setting is out of its range.
    """
    content = read_object(body, EXPECTED)
    unknown = next((name for name in content if name not in KINDS), None)
    require(unknown is None, 422, f"unknown setting {quoted(unknown)}; {EXPECTED}")
    check_kinds(content, KINDS)
    standard = Writing()
    sampling = Sampling(*(content.get(name, getattr(standard.sampling, name)) for name in Sampling._fields))
    writing = checked_writing(
        sampling, content.get("max_tokens", min(standard.max_tokens, limits.tokens)), content, limits
    )
    prompt = prompt_tokens(content.get("prompt", ""), artifact)
    return TextRequest([prompt], writing, content.get("stream", False), GenerateReply(writing.seed))


def read_object(body: bytearray, expected: str) -> dict[str, Any]:
    """Return the JSON object in a body; raise a RequestError if the body is not one."""
    content = parse_json(bytes(body), allow_inf_nan=False)
    require(type(content) is dict, 422, f"{expected}; got {quoted(content)}")
    return content


def check_kinds(content: Mapping[str, Any], kinds: Mapping[str, Kind]) -> None:
    """Raise a RequestError if a setting has another type than its kind allows."""
    for name, value in content.items():
        expected, is_valid = kinds[name]
        require(is_valid(value), 422, f"{name}: must be {expected}, got {quoted(value)}")


def checked_writing(
    sampling: Sampling, max_tokens: int, content: Mapping[str, Any], limits: Limits, texts: int = 1, likeliest: int = 0
) -> Writing:
    """Return the settings of the generation, with seed and stop texts of a request; raise a RequestError if invalid."""
    stops, seed = content.get("stop") or [], content.get("seed")
    seed = secrets.randbelow(SEEDS) if seed is None else seed
    writing = Writing(sampling, max_tokens, [stops] if isinstance(stops, str) else stops, seed, texts, likeliest)
    require((problem := writing.problem()) is None, 422, str(problem))
    require(max_tokens <= limits.tokens, 422, f"max_tokens: must be at most {limits.tokens}")
    return writing


def prompt_tokens(prompt: str, artifact: TextArtifact) -> list[int]:
    """Return the tokens of a prompt; raise a RequestError if it is too long, or the tokenizer cannot encode it."""
    require_length(len(prompt), artifact)
    with request_errors(422, UserError, "prompt: "):
        return artifact.tokenizer.prompt(prompt.encode())


def require_length(characters: int, artifact: TextArtifact) -> None:
    """Raise a RequestError if a prompt has far more characters than fit into the context."""
    longest = max(MIN_PROMPT, TOKEN_CHARACTERS * artifact.context)
    require(characters <= longest, 413, f"the prompt has more than {longest:,} characters; send its end")


def is_text(value: Any) -> bool:
    """Whether a value is text that can be written in UTF-8, which half of a pair of surrogates cannot."""
    return type(value) is str and not any("\ud800" <= letter <= "\udfff" for letter in value)


def _is_stop(value: Any) -> bool:
    stops = [value] if type(value) is str else value
    return value is None or (
        type(stops) is list
        and len(stops) <= MAX_STOPS
        and all(is_text(stop) and 0 < len(stop) <= MAX_STOP_LENGTH for stop in stops)
    )


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and abs(value) <= MAX_NUMBER


def _is_integer(value: Any) -> bool:
    return type(value) is int and abs(value) <= MAX_NUMBER


TEXT: Kind = ("text", is_text)
NUMBER: Kind = ("a number", _is_number)
INTEGER: Kind = ("an integer", _is_integer)
BOOLEAN: Kind = ("true or false", lambda value: type(value) is bool)
# What each setting must be: a description, and a function that checks a value.
KINDS: dict[str, Kind] = {
    "prompt": TEXT,
    "max_tokens": INTEGER,
    "temperature": NUMBER,
    "top_k": INTEGER,
    "top_p": NUMBER,
    "seed": ("an integer or null", lambda value: value is None or _is_integer(value)),
    "stop": (f"a text or up to {MAX_STOPS} of them, of 1 to {MAX_STOP_LENGTH:,} characters", _is_stop),
    "stream": BOOLEAN,
}
