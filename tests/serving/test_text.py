"""A language model behind a server: whole answers and streamed ones, limits, and what it describes."""

import asyncio
import json
from collections.abc import Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from project.runtime.errors import UserError
from project.serving.limits import LIMITS
from project.serving.memory import MemoryBudget
from project.serving.request_error import RequestError
from project.serving.text_answer import answer_text
from project.serving.text_artifact import TextArtifact
from project.serving.text_cache import TextCache
from project.serving.text_model import TextModel
from project.serving.text_reply import GenerateReply
from project.serving.text_request import TextRequest
from project.text.writing import Writing
from tests.command import run_script
from tests.serving.artifacts import write_text
from tests.serving.running import Running, running
from tests.serving.test_metrics import samples

# What the model writes, byte by byte, wherever it starts.
TEXT = "Zwölf Boxkämpfer 拳击手 jagen Viktor … quer über den großen Sylter Deich. "
CONTEXT = len(TEXT.encode())


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_text(tmp_path_factory.mktemp("text") / "text.onnx", TEXT.encode())


@pytest.fixture(scope="module")
def server(written: Path) -> Iterator[Running]:
    with running(written, "--max_tokens", 500) as server:
        yield server


def ask(server: Running, **request: Any) -> httpx.Response:
    return server.client.post("/generate", json={"temperature": 0} | request)


def events(answer: httpx.Response) -> list[dict[str, Any]]:
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "text/event-stream"
    *parts, rest = answer.text.split("\n\n")
    assert rest == ""
    return [json.loads(part.removeprefix("data: ")) for part in parts]


def test_the_answer_is_the_text_that_the_model_knows(server):
    answer = ask(server, prompt="Zwölf", max_tokens=19, seed=3).json()
    rest = TEXT.encode()[len("Zwölf".encode()) :]
    assert answer == {"text": rest[:19].decode(), "tokens": 19, "end": "length", "seed": 3}


def test_a_streamed_text_is_the_whole_one_and_no_character_is_cut(server):
    *others, last = events(ask(server, max_tokens=CONTEXT, stream=True, seed=0))
    pieces = [event["text"] for event in (*others, last)]
    assert "".join(pieces) == TEXT
    assert len(pieces) == len(TEXT)  # a piece for each character, whatever its number of bytes
    assert all(event.keys() == {"text"} for event in others)
    assert (last["tokens"], last["end"], last["seed"]) == (CONTEXT, "length", 0)


def test_a_text_that_ends_within_a_character_shows_that_it_does(server):
    assert ask(server, max_tokens=3).json()["text"] == "Zw\ufffd"


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("stop", ["拳击", ["nothing", "击手", "拳"]], ids=["one", "several"])
def test_a_text_ends_before_a_stop_text_of_several_tokens(server, stop, stream):
    answer = ask(server, max_tokens=200, stop=stop, stream=stream)
    found = events(answer) if stream else [answer.json()]
    assert "".join(event["text"] for event in found) == TEXT[: TEXT.index("拳")]
    assert found[-1]["end"] == "stop"


def test_a_prompt_longer_than_the_context_is_continued_from_its_end(server):
    answer = ask(server, prompt="x" * 10 * CONTEXT, max_tokens=20).json()
    kept = CONTEXT // 2  # tokens of a window that was full
    known = TEXT.encode()
    assert answer["text"] == (known[CONTEXT - 1 :] + known[kept - 1 : kept + 18]).decode(errors="replace")


def test_a_seed_gives_the_same_text_and_without_one_it_is_told(server):
    first, other = (ask(server, temperature=5, top_k=0, top_p=1, max_tokens=50).json() for _ in range(2))
    again = ask(server, temperature=5, top_k=0, top_p=1, max_tokens=50, seed=first["seed"]).json()
    assert first == again
    assert first["text"] != other["text"]


@pytest.mark.parametrize(
    ("body", "status", "detail"),
    [
        (b"", 400, "the body is empty"),
        (b"{", 400, "not JSON"),
        (b"[]", 422, 'expected {"prompt": "..."}'),
        (b'{"promt": "x"}', 422, 'unknown setting "promt"'),
        (b'{"prompt": ["x"]}', 422, "prompt: must be text"),
        (b'{"prompt": "\\udc80"}', 400, "not JSON"),
        (b'{"max_tokens": 0}', 422, "max_tokens: must be 1 or more"),
        (b'{"max_tokens": 501}', 422, "max_tokens: must be at most 500"),
        (b'{"max_tokens": true}', 422, "max_tokens: must be an integer"),
        (b'{"temperature": 1e999}', 422, "temperature: must be a number"),
        (b'{"temperature": %d}' % 10**400, 422, "temperature: must be a number"),
        (b'{"temperature": NaN}', 400, "not JSON"),
        (b'{"top_p": 0}', 422, "top_p: must be above 0"),
        (b'{"top_k": 1.5}', 422, "top_k: must be an integer"),
        (b'{"seed": -1}', 422, "seed: must be 0 or more"),
        (b'{"stop": ""}', 422, "stop: must be a text"),
        (b'{"stream": 1}', 422, "stream: must be true or false"),
        (b'{"prompt": "%s"}' % (b"x" * 70_000), 413, "the prompt has more than 65,536 characters"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_a_mistake_is_named(server, body, status, detail):
    for stream in (b"", b'"stream": true, ' if body[:2] == b'{"' else b""):
        answer = server.client.post(
            "/generate", content=body[:1] + stream + body[1:], headers={"content-type": "application/json"}
        )
        assert (answer.status_code, answer.json()["detail"][: len(detail)]) == (status, detail)


def test_other_routes_describe_it_and_count_its_tokens(server):
    def counted() -> dict[str, float]:
        return samples(server.client.get("/metrics").text)

    before = counted()
    ask(server, max_tokens=7)
    events(ask(server, max_tokens=5, stream=True))
    after = counted()
    assert after["serving_tokens_total"] - before["serving_tokens_total"] == 12
    assert after["serving_rows_total"] == 0
    described = server.client.get("/openapi.json").json()
    settings = described["paths"]["/generate"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert settings["properties"]["max_tokens"]["maximum"] == 500
    assert "/predict" not in described["paths"]
    metadata = server.client.get("/metadata").json()
    assert metadata["in_shape"] == [CONTEXT]
    assert not metadata.keys() & {"config", "fields"}
    page = server.client.get("/").text
    assert 'id="prompt"' in page
    assert "http:" not in page
    assert server.client.post("/predict", json={"rows": []}).status_code == 404
    table = server.client.post("/generate", content=b"a\n1\n", headers={"content-type": "text/csv"})
    assert (table.status_code, table.json()["detail"]) == (
        415,
        "send content-type application/json, without content-encoding",
    )


def model_of(path: Path, **limits: Any) -> TextModel:
    changed = LIMITS._replace(**limits)
    return TextModel(TextArtifact(path), changed, MemoryBudget(changed.memory, changed.seconds))


class Now(Executor):
    """Works at once."""

    def submit(self, work: Any, /, *args: Any, **kwargs: Any) -> Any:
        work(*args, **kwargs)


def pieces_of(model: TextModel, **request: Any) -> list[Any]:
    content, found = bytearray(json.dumps({"temperature": 0} | request).encode()), list[Any]()
    model.batch.add(model.read("/generate", content), found.append, Now())
    return found


def after_it(model: TextModel, first: dict[str, Any], *others: dict[str, Any]) -> list[list[Any]]:
    """The pieces of requests, of which the others come while the last piece of the first one is passed on."""
    found = [list[Any]() for _ in range(1 + len(others))]
    requests = [
        model.read("/generate", bytearray(json.dumps({"temperature": 0} | each).encode())) for each in (first, *others)
    ]

    def emit(piece: Any) -> None:
        found[0].append(piece)
        for request, pieces in zip(requests[1:], found[1:], strict=True):
            model.batch.add(request, pieces.append, Now())

    model.batch.add(requests[0], emit, Now())
    return found


def test_a_short_text_begins_where_a_longer_one_has_just_ended(written):
    [first], [second] = after_it(model_of(written), {"max_tokens": 20}, {"max_tokens": 5})
    assert (len(first.tokens), len(second.tokens), second.end) == (20, 5, "length")
    assert second.tokens == first.tokens[:5]


def test_what_cannot_begin_is_told_and_keeps_no_other_from_it(written, monkeypatch):
    def no_memory(self: TextCache, kept: int, rows: int, room: int) -> None:
        raise MemoryError

    model = model_of(written)
    with monkeypatch.context() as patch:
        patch.setattr(TextCache, "resize", no_memory)
        [error] = pieces_of(model, max_tokens=3)
    assert isinstance(error, MemoryError)
    [piece] = pieces_of(model, max_tokens=3)
    assert len(piece.tokens) == 3


def test_a_text_that_takes_too_long_is_what_there_is(written):
    [piece] = pieces_of(model_of(written, seconds=1e-9), prompt="Zw", max_tokens=100)
    assert (piece.text, len(piece.tokens), piece.end) == ("\ufffd", 1, "time")


def test_a_text_that_needs_too_much_memory_is_refused(written):
    model = model_of(written, memory=100_000)
    assert len(pieces_of(model, max_tokens=1)) == 1
    with pytest.raises(RequestError, match="the text needs .* ask for fewer tokens") as caught:
        pieces_of(model_of(written, memory=50_000), max_tokens=400)
    assert caught.value.status == 413


def test_nothing_is_written_for_a_client_that_has_left(written):
    batch = model_of(written, seconds=1e9).batch

    async def leave() -> dict[str, Any]:
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        pass

    request = TextRequest([[1]], Writing(max_tokens=10**9), True, GenerateReply(0))
    with ThreadPoolExecutor(1) as threads:  # which waits for the thread
        assert asyncio.run(answer_text(batch, request, threads, leave, send))[1] is None


def test_the_command_continues_a_text_and_names_a_model_that_does_not(written, houses, tmp_path):
    done = run_script(tmp_path, "generate", written, "Zwölf", "--temperature", 0, "--max_tokens", 19)
    assert done.stdout == "Zwölf" + TEXT.encode()[6:25].decode() + "\n"
    done = run_script(tmp_path, "generate", houses, "Zwölf")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "writes no text; pass a language model" in done.stderr


def test_a_file_without_a_tokenizer_is_one_line(tmp_path):
    path = write_text(tmp_path / "text.onnx", b"abc", tokenizer={"kind": "nothing"})
    with pytest.raises(UserError, match="its tokenizer is damaged"):
        TextArtifact(path)
