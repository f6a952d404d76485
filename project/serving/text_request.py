"""A request to a language model, read from JSON."""

import secrets
from collections.abc import Callable
from typing import Any, NamedTuple

from pydantic_core import from_json

from project.serving.limits import Limits
from project.serving.request_error import RequestError, quoted, require
from project.text.sampling import Sampling
from project.text.writing import Writing

MAX_STOPS, MAX_STOP_LENGTH = 16, 1_000
SEEDS = 2**32  # of those that are drawn
LARGEST = 2**53  # number of a setting
EXPECTED = 'expected {"prompt": "..."}, with max_tokens, temperature, top_k, top_p, seed, stop and stream as you like'


class TextRequest(NamedTuple):
    """What a client asks for.

    Attributes:
        prompt: Beginning of the text.
        writing: What is to be written; without a seed in the request, with a random one.
        stream: Whether the answer is sent piece by piece.
    """

    prompt: str
    writing: Writing
    stream: bool


def read_request(body: bytearray, limits: Limits, max_prompt: int) -> TextRequest:
    """Return the request of a body in JSON, whose prompt may have so many characters.

    Raises:
        RequestError: If it is not a request, or a setting is out of its range.
    """
    try:
        content = from_json(bytes(body), allow_inf_nan=False)
    except ValueError as error:
        raise RequestError(400, f"not JSON: {error}") from None
    require(type(content) is dict, 422, f"{EXPECTED}; got {quoted(content)}")
    unknown = next((name for name in content if name not in KINDS), None)
    require(unknown is None, 422, f"unknown setting {quoted(unknown)}; {EXPECTED}")
    for name, value in content.items():
        expected, is_valid = KINDS[name]
        require(is_valid(value), 422, f"{name}: must be {expected}, got {quoted(value)}")
    prompt, standard = content.get("prompt", ""), Writing()
    require(len(prompt) <= max_prompt, 413, f"the prompt has more than {max_prompt:,} characters; send its end")
    stops = content.get("stop") or []
    sampling = Sampling(*(content.get(name, getattr(standard.sampling, name)) for name in Sampling._fields))
    writing = Writing(
        sampling,
        content.get("max_tokens", min(standard.max_tokens, limits.tokens)),
        [stops] if isinstance(stops, str) else stops,
        secrets.randbelow(SEEDS) if (seed := content.get("seed")) is None else seed,
    )
    require((problem := writing.problem()) is None, 422, str(problem))
    require(writing.max_tokens <= limits.tokens, 422, f"max_tokens: must be at most {limits.tokens}")
    return TextRequest(prompt, writing, content.get("stream", False))


def _is_text(value: Any) -> bool:
    """Whether a value is text that can be written in UTF-8, which half of a pair of surrogates cannot."""
    return type(value) is str and not any("\ud800" <= letter <= "\udfff" for letter in value)


def _is_stop(value: Any) -> bool:
    stops = [value] if type(value) is str else value
    return value is None or (
        type(stops) is list
        and len(stops) <= MAX_STOPS
        and all(_is_text(stop) and 0 < len(stop) <= MAX_STOP_LENGTH for stop in stops)
    )


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and abs(value) <= LARGEST


def _is_integer(value: Any) -> bool:
    return type(value) is int and abs(value) <= LARGEST


Kind = tuple[str, Callable[[Any], bool]]
NUMBER: Kind = ("a number", _is_number)
INTEGER: Kind = ("an integer", _is_integer)
# What each setting must be, in words and as a function.
KINDS: dict[str, Kind] = {
    "prompt": ("text", _is_text),
    "max_tokens": INTEGER,
    "temperature": NUMBER,
    "top_k": INTEGER,
    "top_p": NUMBER,
    "seed": ("an integer or null", lambda value: value is None or _is_integer(value)),
    "stop": (f"a text or up to {MAX_STOPS} of them, of 1 to {MAX_STOP_LENGTH:,} characters", _is_stop),
    "stream": ("true or false", lambda value: type(value) is bool),
}
