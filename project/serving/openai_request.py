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

MAX_TEXTS, MAX_LIKELIEST = 16, 20  # texts per request, and log-probabilities per token
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
    "top_logprobs": INTEGER,
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
}


def read_completion(body: bytearray, artifact: TextArtifact, limits: Limits) -> TextRequest:
    """Return the request of a body of `/v1/completions`.

    Raises:
        RequestError: If it is not a request, or a setting is out of its range or not supported.
    """
    content = read_settings(body, COMPLETION, artifact, EXPECTED)
    prompts = _prompts(content.get("prompt", ""), artifact)
    return text_request(content, prompts, content.get("max_tokens", COMPLETION_TOKENS), artifact, limits)


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
    likeliest = content.get("top_logprobs", 0)
    require(likeliest == 0 or content.get("logprobs") is True, 422, "top_logprobs: has no effect without logprobs")
    content["logprobs"] = likeliest if content.get("logprobs") else None
    return text_request(content, [prompt], max_tokens, artifact, limits, ChatReply)


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
    prompts: list[list[int]],
    max_tokens: int,
    artifact: TextArtifact,
    limits: Limits,
    kind: type[CompletionReply] = CompletionReply,
) -> TextRequest:
    """Return the request with given settings and tokens of prompts."""
    context, longest = artifact.context, max(map(len, prompts))
    require(longest <= context, 422, f"prompt: has {longest:,} tokens, more than the model's {context:,}")
    sampling = Sampling(content.get("temperature", 1.0), content.get("top_k", 0), content.get("top_p", 1.0))
    texts, likeliest = content.get("n", 1), content.get("logprobs")
    most = MAX_TEXTS // len(prompts)
    require(1 <= texts <= most, 422, f"n: must be 1 to {most}, as there are at most {MAX_TEXTS} texts, got {texts}")
    name = "top_logprobs" if "top_logprobs" in content else "logprobs"
    require(0 <= (likeliest or 0) <= MAX_LIKELIEST, 422, f"{name}: must be 0 to {MAX_LIKELIEST}, got {likeliest}")
    writing = checked_writing(sampling, max_tokens, content, limits, texts * len(prompts), likeliest or 0)
    has_usage = content.get("stream_options", {}).get("include_usage") is True
    reply = kind(artifact, sum(map(len, prompts)), writing.texts, has_usage, likeliest is not None)
    return TextRequest(prompts, writing, content.get("stream", False), reply)


def _prompts(prompts: Any, artifact: TextArtifact) -> list[list[int]]:
    """Return the tokens of each prompt: of a text, of a list of tokens, or of a list of either."""
    are_several = type(prompts) is list and prompts and type(prompts[0]) is not int
    prompts = prompts if are_several else [prompts]
    require(len(prompts) <= MAX_TEXTS, 422, f"prompt: must be at most {MAX_TEXTS} prompts, got {len(prompts)}")
    return [_tokens(prompt, artifact) for prompt in prompts]


def _tokens(prompt: Any, artifact: TextArtifact) -> list[int]:
    if type(prompt) is list and prompt and all(type(each) is int for each in prompt):
        size = artifact.metadata["out_features"]
        require(all(0 <= each < size for each in prompt), 422, f"prompt: tokens are numbers from 0 to {size - 1:,}")
        return prompt
    expected, is_valid = KINDS["prompt"]
    require(
        is_valid(prompt), 422, f"prompt: must be {expected} or its tokens, or several of them, got {quoted(prompt)}"
    )
    return prompt_tokens(prompt, artifact)
