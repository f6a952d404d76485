"""OpenAI's own client package asks a server."""

import json
import math
from collections.abc import Iterator
from typing import Any

import openai
import pytest

from project.text import ByteTokenizer
from project.text.chat_template import ChatTemplate
from tests.serving.artifacts import write_text
from tests.serving.running import Running, running

# What the model writes, byte by byte, wherever it starts.
TEXT = "Zwölf Boxkämpfer 拳击手 jagen Viktor … quer über den großen Sylter Deich. "
CONTEXT = len(TEXT.encode())
TOKEN = "a-secret-token"
HELLO = [{"role": "user", "content": "Hi"}]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("text")
    (folder / "token").write_text(TOKEN)
    (folder / "token").chmod(0o600)
    written = write_text(folder / "boxers.onnx", TEXT.encode())
    with running(written, "--max_tokens", 500, "--token_file", folder / "token", "--max_bytes", 100_000) as server:
        yield server


@pytest.fixture(scope="module")
def client(server: Running) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key=TOKEN, max_retries=0) as client:
        yield client


def completion(client: openai.OpenAI, prompt: Any = "", **settings: Any) -> Any:
    return client.completions.create(**{"model": "boxers", "prompt": prompt, "temperature": 0} | settings)


def chat(client: openai.OpenAI, messages: Any = HELLO, **settings: Any) -> Any:
    return client.chat.completions.create(**{"model": "boxers", "messages": messages, "temperature": 0} | settings)


def after(tokens: int, count: int) -> str:
    """What the model writes after so many tokens."""
    return TEXT.encode()[tokens - 1 : tokens - 1 + count].decode(errors="replace")


def test_the_model_is_listed_by_the_name_of_its_file(client):
    [model] = client.models.list().data
    assert (model.id, model.object) == ("boxers", "model")
    assert client.models.retrieve("boxers") == model
    with pytest.raises(openai.NotFoundError, match="there is no"):
        client.models.retrieve("wrestlers")


@pytest.mark.parametrize("prompt", ["Zw", ["Zw"], [256, 90, 119], [[256, 90, 119]]], ids=["text", "one", "ids", "list"])
def test_a_completion_is_the_text_that_the_model_knows(client, prompt):
    answer = completion(client, prompt, max_tokens=9)
    [choice] = answer.choices
    assert (choice.text, choice.finish_reason, choice.logprobs) == (after(3, 9), "length", None)
    assert (answer.object, answer.model) == ("text_completion", "boxers")
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens, answer.usage.total_tokens) == (3, 9, 12)
    assert len(completion(client).choices[0].text.encode()) == 16  # OpenAI's standard


def test_an_answer_follows_the_tokens_of_the_conversation(client):
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "A"}]},
    ]
    plain = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "A"}]
    prompt = len(ChatTemplate(ByteTokenizer()).prompt(plain))
    answer = chat(client, messages, max_completion_tokens=5)
    [choice] = answer.choices
    assert (choice.message.role, choice.message.content) == ("assistant", after(prompt, 5))
    assert (answer.usage.prompt_tokens, choice.finish_reason) == (prompt, "length")
    rest = chat(client, messages)  # as far as the context goes
    assert rest.usage.total_tokens == CONTEXT


@pytest.mark.parametrize("ask", [completion, chat])
def test_a_streamed_text_is_the_whole_one(client, ask):
    options = {"max_tokens": 40, "stop": "groß"}
    whole = ask(client, **options).choices[0]
    chunks = list(ask(client, stream=True, stream_options={"include_usage": True}, **options))
    pieces = [choice for chunk in chunks for choice in chunk.choices]
    if ask is chat:
        assert "".join(piece.delta.content for piece in pieces) == whole.message.content
    else:
        assert "".join(piece.text for piece in pieces) == whole.text
    assert [piece.finish_reason for piece in pieces[-2:]] == [None, whole.finish_reason]
    assert chunks[-1].usage == ask(client, **options).usage
    assert all(chunk.usage is None for chunk in chunks[:-1])
    assert len({chunk.id for chunk in chunks}) == 1


def test_several_texts_come_at_once_and_each_ends_by_itself(client):
    settings = {"n": 3, "temperature": 2, "seed": 1, "max_tokens": 40, "stop": "b"}
    whole = {choice.index: choice for choice in completion(client, **settings).choices}
    assert len({choice.text for choice in whole.values()}) == 3
    texts, ends = dict.fromkeys(whole, ""), dict[int, str]()
    for chunk in completion(client, stream=True, **settings):
        [choice] = chunk.choices
        texts[choice.index] += choice.text
        assert choice.index not in ends
        if choice.finish_reason:
            ends[choice.index] = choice.finish_reason
    assert texts == {index: choice.text for index, choice in whole.items()}
    assert ends == {index: choice.finish_reason for index, choice in whole.items()}


def test_a_stop_text_is_left_out(client):
    choice = completion(client, max_tokens=100, stop=["拳", "nothing"]).choices[0]
    assert (choice.text, choice.finish_reason) == (TEXT[: TEXT.index("拳")], "stop")


def test_a_seed_gives_the_same_text(client):
    texts = [completion(client, seed=seed, temperature=2, max_tokens=30).choices[0].text for seed in (5, 5, 6)]
    assert texts[0] == texts[1] != texts[2]


def test_log_probabilities_are_those_of_the_model(client):
    expected = 9 - math.log(math.exp(9) + 256)
    found = chat(client, max_tokens=3, logprobs=True, temperature=0.5).choices[0].logprobs.content
    assert [token.logprob for token in found] == pytest.approx([expected] * 3)
    assert b"".join(bytes(token.bytes) for token in found).decode(errors="replace") == after(len(chat_prompt()), 3)
    chances = completion(client, max_tokens=2, logprobs=0).choices[0].logprobs
    assert (chances.tokens, chances.token_logprobs) == (["Z", "w"], pytest.approx([expected] * 2))


def test_the_likeliest_tokens_are_reported_with_their_log_probabilities(client):
    known, other = 9 - math.log(math.exp(9) + 256), -math.log(math.exp(9) + 256)
    for token in chat(client, max_tokens=2, logprobs=True, top_logprobs=3).choices[0].logprobs.content:
        first = token.top_logprobs[0]
        assert (first.token, first.bytes, first.logprob) == (token.token, token.bytes, token.logprob)
        assert [each.logprob for each in token.top_logprobs] == pytest.approx([known, other, other])
    events = [*completion(client, max_tokens=2, logprobs=2, stream=True)]
    for found in (
        completion(client, max_tokens=2, logprobs=2).choices[0].logprobs.top_logprobs,
        [place for event in events for place in event.choices[0].logprobs.top_logprobs],
    ):
        assert [place[letter] for place, letter in zip(found, "Zw", strict=True)] == pytest.approx([known] * 2)
        assert [len(place) for place in found] == [2, 2]
    for wrong in ({"top_logprobs": 1}, {"logprobs": True, "top_logprobs": 21}):
        with pytest.raises(openai.BadRequestError) as caught:
            chat(client, **wrong)
        assert caught.value.param == "top_logprobs"


@pytest.mark.parametrize("stream", [False, True])
def test_each_of_several_prompts_has_its_own_texts(client, stream):
    prompts: list[Any] = ["", "Zw"]
    counted = {"stream": True, "stream_options": {"include_usage": True}} if stream else {}
    answer = completion(client, prompts, max_tokens=5, n=2, **counted)
    texts = dict.fromkeys(range(4), "")
    chunks = [*answer] if stream else [answer]
    for choice in (choice for chunk in chunks for choice in chunk.choices):
        texts[choice.index] += choice.text
    assert [*texts.values()] == [after(1, 5)] * 2 + [after(3, 5)] * 2
    assert (chunks[-1].usage.prompt_tokens, chunks[-1].usage.completion_tokens) == (4, 20)
    with pytest.raises(openai.BadRequestError) as caught:
        completion(client, ["a"] * 9, n=2)
    assert caught.value.param == "n"


def chat_prompt() -> list[int]:
    return ChatTemplate(ByteTokenizer()).prompt(HELLO)


@pytest.mark.parametrize(
    ("settings", "kind", "param"),
    [
        ({"model": "wrestlers"}, openai.NotFoundError, "model"),
        ({"max_tokens": 501}, openai.BadRequestError, "max_tokens"),
        ({"temperature": -1}, openai.BadRequestError, "temperature"),
        ({"n": 1000}, openai.BadRequestError, "n"),
        ({"frequency_penalty": 0.5}, openai.BadRequestError, "frequency_penalty"),
        ({"extra_body": {"promt": "x"}}, openai.BadRequestError, None),
        ({"extra_body": {"stream": 1}}, openai.BadRequestError, "stream"),
    ],
    ids=str,
)
def test_a_mistake_is_openai_s_error(client, settings, kind, param):
    for ask in (completion, chat):
        with pytest.raises(kind) as caught:
            ask(client, **settings)
        assert caught.value.param == param
        assert caught.value.type == "invalid_request_error"
        assert caught.value.message


@pytest.mark.parametrize(
    ("messages", "problem"),
    [
        ([], "messages: must be 1 to 500 messages"),
        ([{"role": "pope", "content": "x"}], "message 1"),
        ([*HELLO, {"role": "user", "content": [{"type": "image_url"}]}], "messages: 2: content: must be text"),
        ([{"role": "user", "content": "x" * 70_000}], "more than 65,536 characters"),
        ([{"role": "user", "content": "x" * CONTEXT}], "more than the model's"),
    ],
    ids=["none", "role", "image", "long", "context"],
)
def test_a_conversation_that_is_none_is_named(client, messages, problem):
    with pytest.raises(openai.APIStatusError, match=problem) as caught:
        chat(client, messages)
    assert caught.value.status_code in (400, 413)


def test_what_this_server_lacks_is_refused_and_what_changes_nothing_is_not(client):
    with pytest.raises(openai.BadRequestError, match="tools: an array of 1 is not supported"):
        chat(client, tools=[{"type": "function", "function": {"name": "f"}}])
    harmless = {"user": "me", "presence_penalty": 0, "logit_bias": {}, "response_format": {"type": "text"}, "tools": []}
    assert chat(client, max_tokens=3, **harmless).choices[0].message.content


def test_limits_and_access_hold_and_errors_have_openai_s_shape(server, client):
    with pytest.raises(openai.AuthenticationError, match="token") as caught:
        completion(client.with_options(api_key="another"))
    assert caught.value.code == "invalid_api_key"
    with pytest.raises(openai.AuthenticationError):
        client.with_options(api_key="another").models.list()
    with pytest.raises(openai.APIStatusError, match="longer than 100000 bytes") as refused:
        completion(client, "x" * 100_000)
    assert refused.value.status_code == 413
    headers = {"authorization": f"Bearer {TOKEN}", "content-type": "application/json"}
    elsewhere = server.client.post("/v1/completions", content=b"{}", headers=headers | {"host": "elsewhere"})
    assert (elsewhere.status_code, elsewhere.json()["error"]["type"]) == (400, "invalid_request_error")
    broken = server.client.post("/v1/completions", content=b"{", headers=headers)
    assert (broken.status_code, broken.json()["error"]["message"][:8]) == (400, "not JSON")


def test_the_stream_ends_as_openai_s_does(server):
    body = {"prompt": "", "max_tokens": 2, "stream": True, "temperature": 0}
    answer = server.client.post("/v1/completions", json=body, headers={"authorization": f"Bearer {TOKEN}"})
    *events, done, rest = answer.text.split("\n\n")
    assert (done, rest) == ("data: [DONE]", "")
    assert json.loads(events[0].removeprefix("data: "))["choices"][0]["text"] == "Z"
