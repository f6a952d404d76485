"""Requests in the format of OpenAI's API.

Source: https://platform.openai.com/docs/api-reference/completions
"""

from collections.abc import Mapping
from typing import Any

from project.runtime.errors import UserError
from project.serving.limits import Limits
from project.serving.openai_reply import ChatReply, CompletionReply
from project.serving.request_error import quoted, request_errors, require
from project.serving.text_artifact import TextArtifact
from project.serving.text_request import (
    BOOLEAN,
    INTEGER,
    KINDS,
    NUMBER,
    TEXT,
    Kind,
    TextRequest,
    check_kinds,
    checked_writing,
    is_text,
    prompt_tokens,
    read_object,
    require_length,
)
from project.text.chat_template import ChatTemplate
from project.text.sampling import Sampling

MAX_TEXTS = 16  # per request
MAX_MESSAGES = 500
COMPLETION_TOKENS = 16  # OpenAI's default of max_tokens for a completion
EXPECTED = 'expected {"model": "...", "prompt": "..."}'
EXPECTED_CHAT = 'expected {"model": "...", "messages": [{"role": "user", "content": "..."}]}'
OPTIONS: Kind = ("an object", lambda value: type(value) is dict)
# What each setting must be: a description, and a function that checks a value. A null is as good as no setting.
COMMON: dict[str, Kind] = {
    **{name: KINDS[name] for name in ("seed", "stop")},
    "model": TEXT,
    "max_tokens": INTEGER,
    "temperature": NUMBER,
    "top_k": INTEGER,  # not in OpenAI's API, but many servers accept it
    "top_p": NUMBER,
    "n": INTEGER,
    "stream": BOOLEAN,
    "stream_options": OPTIONS,
}
COMPLETION = COMMON | {"prompt": ("text, or the numbers of its tokens", lambda value: True), "logprobs": INTEGER}
CHAT = COMMON | {
    "messages": (f"1 to {MAX_MESSAGES} messages", lambda value: type(value) is list and 0 < len(value) <= MAX_MESSAGES),
    "max_completion_tokens": INTEGER,
    "logprobs": BOOLEAN,
}
# Settings that are accepted and have no effect.
IGNORED = {"metadata", "prompt_cache_key", "safety_identifier", "service_tier", "store", "user", "verbosity"}
# Settings that are accepted with these values, which have no effect; with others, the answer would be wrong.
NEUTRAL: dict[str, tuple[Any, ...]] = {
    "best_of": (1,),
    "echo": (False,),
    "frequency_penalty": (0,),
    "function_call": ("none", "auto"),
    "functions": ([],),
    "logit_bias": ({},),
    "modalities": (["text"],),
    "parallel_tool_calls": (True, False),
    "presence_penalty": (0,),
    "response_format": ({"type": "text"},),
    "suffix": ("",),
    "tool_choice": ("none", "auto"),
    "tools": ([],),
    "top_logprobs": (0,),
}


def read_completion(body: bytearray, artifact: TextArtifact, limits: Limits) -> TextRequest:
    """Return the request of a body of `/v1/completions`.

    Raises:
        RequestError: If it is not a request, or a setting is out of its range or not supported.
    """
    content = read_settings(body, COMPLETION, artifact, EXPECTED)
    tokens = _prompt(content.get("prompt", ""), artifact)
    require((content.get("logprobs") or 0) == 0, 422, "logprobs: must be 0, for the tokens of the text alone")
    return text_request(content, tokens, content.get("max_tokens", COMPLETION_TOKENS), artifact, limits)


def read_chat(body: bytearray, artifact: TextArtifact, limits: Limits) -> TextRequest:
    """Return the request of a body of `/v1/chat/completions`.

    Raises:
        RequestError: If it is not a request, or a setting is out of its range or not supported.
    """
    content = read_settings(body, CHAT, artifact, EXPECTED_CHAT)
    require("messages" in content, 422, f"messages: are missing; {EXPECTED_CHAT}")
    messages = [_message(message, place) for place, message in enumerate(content["messages"], 1)]
    require_length(sum(len(message["content"]) for message in messages), artifact)
    with request_errors(422, UserError, "messages: "):
        prompt = ChatTemplate(artifact.tokenizer).prompt(messages)
    rest = max(1, min(limits.tokens, artifact.context - len(prompt)))
    max_tokens = content.get("max_completion_tokens", content.get("max_tokens", rest))
    return text_request(content, prompt, max_tokens, artifact, limits, ChatReply)


def _message(message: Any, place: int) -> dict[str, str]:
    """Return role and content of a message, whose content may be a list of parts."""
    require(type(message) is dict, 422, f"messages: {place}: must be an object, got {quoted(message)}")
    parts = message.get("content")
    parts = [{"type": "text", "text": parts}] if type(parts) is str else parts
    are_texts = type(parts) is list and all(type(part) is dict and is_text(part.get("text")) for part in parts)
    require(are_texts, 422, f"messages: {place}: content: must be text, got {quoted(parts)}")
    return {"role": message.get("role"), "content": "".join(part["text"] for part in parts)}


def read_settings(body: bytearray, kinds: Mapping[str, Kind], artifact: TextArtifact, expected: str) -> dict[str, Any]:
    """Return the settings in a body, without those that have no effect."""
    content = {name: value for name, value in read_object(body, expected).items() if value is not None}
    for name, values in NEUTRAL.items():
        value = content.pop(name, values[0])
        require(value in values, 422, f"{name}: {quoted(value)} is not supported; leave it out")
    content = {name: value for name, value in content.items() if name not in IGNORED}
    unknown = next((name for name in content if name not in kinds), None)
    require(unknown is None, 422, f"unknown setting {quoted(unknown)}; {expected}")
    check_kinds(content, kinds)
    model = content.get("model", artifact.path.stem)
    require(model == artifact.path.stem, 404, f"model: there is no {quoted(model)}; use {quoted(artifact.path.stem)}")
    return content


def text_request(
    content: Mapping[str, Any],
    prompt: list[int],
    max_tokens: int,
    artifact: TextArtifact,
    limits: Limits,
    kind: type[CompletionReply] = CompletionReply,
) -> TextRequest:
    """Return the request with given settings and tokens of a prompt."""
    context = artifact.context
    require(len(prompt) <= context, 422, f"prompt: has {len(prompt):,} tokens, more than the model's {context:,}")
    sampling = Sampling(content.get("temperature", 1.0), content.get("top_k", 0), content.get("top_p", 1.0))
    texts = content.get("n", 1)
    require(1 <= texts <= MAX_TEXTS, 422, f"n: must be 1 to {MAX_TEXTS}, got {texts}")
    writing = checked_writing(sampling, max_tokens, content, limits, texts)
    has_usage = content.get("stream_options", {}).get("include_usage") is True
    has_log_probabilities = "logprobs" in content and content["logprobs"] is not False
    reply = kind(artifact, len(prompt), texts, has_usage, has_log_probabilities)
    return TextRequest(prompt, writing, content.get("stream", False), reply)


def _prompt(prompt: Any, artifact: TextArtifact) -> list[int]:
    """Return the tokens of a prompt, which is a text, a list of tokens, or a list that holds one of those."""
    if type(prompt) is list and len(prompt) == 1 and type(prompt[0]) is not int:
        [prompt] = prompt
    if type(prompt) is list and prompt and all(type(each) is int for each in prompt):
        size = artifact.metadata["out_features"]
        require(all(0 <= each < size for each in prompt), 422, f"prompt: tokens are numbers from 0 to {size - 1:,}")
        return prompt
    expected, is_valid = KINDS["prompt"]
    require(is_valid(prompt), 422, f"prompt: must be {expected} or its tokens, and one alone, got {quoted(prompt)}")
    return prompt_tokens(prompt, artifact)
