"""Requests that are too much, too slow or not HTTP as it should be; the next good one is answered."""

import json
import os
import socket
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from project.serving.model import CSV
from tests.serving.artifacts import write_waiting
from tests.serving.running import MAX_LENGTH, eventually, running
from tests.serving.test_metrics import samples

GOOD = {"rows": [[1, 1]]}


@pytest.fixture(autouse=True)
def the_next_one_is_answered(request):
    yield
    if "house_server" in request.fixturenames:
        assert request.getfixturevalue("house_server").predict([[1, 1]]) == [{"price": 59}]


def head(server, *lines: str) -> bytes:
    return "\r\n".join(
        ["POST /predict HTTP/1.1", f"Host: 127.0.0.1:{server.port}", "Content-Type: application/json", *lines, "", ""]
    ).encode()


def answer_to(server, *parts: bytes, pause: float = 0.0) -> tuple[int, dict]:
    """Status and body of the answer to bytes as they are."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=MAX_LENGTH) as connection:
        for part in parts:
            connection.sendall(part)
            time.sleep(pause)
        stream = connection.makefile("rb")
        status = int(stream.readline().split()[1])
        headers = dict(line.decode().lower().strip().split(": ") for line in iter(stream.readline, b"\r\n"))
        return status, json.loads(stream.read(int(headers["content-length"])))


def test_a_body_that_says_it_is_too_long_is_refused_unread(house_server):
    status, told = answer_to(house_server, head(house_server, "Content-Length: 100000000"))
    assert status == 413
    assert "longer than 1000000 bytes" in told["detail"]


@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_of_a_hundred_megabytes_is_refused(house_server, chunked):
    part = b" " * 1_000_000
    body = (part for _ in range(100)) if chunked else part * 100
    answer = house_server.post(body)
    assert answer.status_code == 413
    assert "longer than" in answer.json()["detail"]


def test_chunks_add_up_to_a_body(house_server):
    text = json.dumps(GOOD).encode()
    answer = house_server.post(text[start : start + 3] for start in range(0, len(text), 3))
    assert answer.json() == {"predictions": [{"price": 59}]}


def test_a_client_that_never_finishes_is_told_and_left(houses):
    with running(houses, "--max_seconds", 2) as server:
        starts = [
            b"",
            b"POST /predict HT",
            head(server, "Content-Length: 20") + b'{"rows": ',
            head(server, "Transfer-Encoding: chunked") + b'5\r\n{"row',
        ]
        slow = [socket.create_connection(("127.0.0.1", server.port), timeout=MAX_LENGTH) for _ in starts]
        for connection, start in zip(slow, starts, strict=True):
            connection.sendall(start)
        assert server.predict([[1, 1]]) == [{"price": 59}]
        for connection in slow:
            answer = b"".join(iter(lambda: connection.recv(1_000), b""))  # noqa: B023
            assert answer.startswith(b"HTTP/1.1 408 ")
            assert "did not arrive within 2 seconds" in json.loads(answer.partition(b"\r\n\r\n")[2])["detail"]
            connection.close()


def test_a_slow_client_that_finishes_in_time_is_answered(house_server):
    text = json.dumps(GOOD).encode()
    first = head(house_server, f"Content-Length: {len(text)}")
    parts = (first[:30], first[30:], text[:5], text[5:])
    assert answer_to(house_server, *parts, pause=0.3) == (200, {"predictions": [{"price": 59}]})


def test_a_client_that_goes_in_the_middle_disturbs_nobody(house_server):
    def unfinished() -> float:
        """How many requests have ended with their connection."""
        counts = samples(house_server.client.get("/metrics").text)
        return counts.get('serving_requests_total{path="/predict",status="408"}', 0)

    before = unfinished()
    for sent in (b"POST", head(house_server, "Content-Length: 50") + b"{"):
        with socket.create_connection(("127.0.0.1", house_server.port)) as connection:
            connection.sendall(sent)
    eventually(lambda: unfinished() == before + 1)
    assert house_server.silent, "a server prints nothing about clients"


@pytest.mark.parametrize(
    "lines", [["Content-Length: x"], ["Content-Length: -1"], ["Transfer-Encoding: chunked", "", "zz"], ["no header"]]
)
def test_what_is_not_http_is_refused(house_server, lines):
    with socket.create_connection(("127.0.0.1", house_server.port), timeout=MAX_LENGTH) as connection:
        connection.sendall(head(house_server, *lines))
        assert connection.recv(1_000).startswith(b"HTTP/1.1 400 ")


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/nothing", 404),
        ("POST", "/", 405),
        ("GET", "/predict", 405),
        ("DELETE", "/predict", 405),
        ("POST", "/predict/", 404),
        ("GET", "/../etc/passwd", 404),
    ],
)
def test_an_unknown_path_or_method_is_told(house_server, method, path, status):
    answer = house_server.client.request(method, path)
    assert answer.status_code == status
    assert answer.json()["detail"]


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"content-type": "text/plain"},
        {"content-type": "application/x-www-form-urlencoded"},
        {"content-type": "multipart/form-data"},
        {"content-type": "application/json", "content-encoding": "gzip"},
        {"content-type": "\xff"},
    ],
)
def test_a_body_of_another_type_is_refused(house_server, headers):
    headers = {name: value.encode("latin-1") for name, value in headers.items()}
    answer = house_server.client.post("/predict", content=json.dumps(GOOD), headers=headers)
    assert answer.status_code == 415
    assert "application/json" in answer.json()["detail"]


def test_parameters_of_a_type_are_no_matter(house_server):
    answer = house_server.post(json.dumps(GOOD), "Application/JSON; charset=utf-8")
    assert answer.json() == {"predictions": [{"price": 59}]}


@pytest.mark.parametrize("kind", ["application/json", CSV, "application/vnd.apache.parquet"])
def test_an_empty_body_is_told(house_server, kind):
    answer = house_server.post(b"", kind)
    assert answer.status_code == 400
    assert answer.json() == {"detail": "the body is empty"}


def test_more_requests_than_may_be_answered_at_once_are_told_to_come_again(tmp_path):
    with running(write_waiting(tmp_path / "waiting.onnx"), "--max_requests", 2, "--max_seconds", 5) as server:
        large = [b'{"rows": [[%s]]}' % number + b" " * 20_000 for number in (b"1e9", b"1e9", b"3")]
        waiting = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(2)]
        for connection, body in zip(waiting, large, strict=False):
            connection.sendall(head(server, f"Content-Length: {len(body)}") + body)
        eventually(lambda: server.post(large[2]).status_code == 503)
        answer = server.post(large[2])
        assert answer.headers["retry-after"] == "1"
        assert "2 requests are already being answered" in answer.json()["detail"]
        assert server.predict([[3]]) == [{"y": 3}], "a small one takes no place"
        for connection in waiting:
            connection.close()
        eventually(lambda: server.post(large[2]).status_code == 200)


def test_an_answer_that_takes_too_long_is_given_up(tmp_path):
    with running(write_waiting(tmp_path / "waiting.onnx"), "--max_seconds", 1) as server:
        assert server.predict([[20]]) == [{"y": 20}]
        for _ in range(2 * (os.cpu_count() or 1)):  # as many as there are threads, and more
            answer = server.post(b'{"rows": [[1e9]]}' + b" " * 20_000)  # small bodies are answered without a thread
            assert answer.status_code == 503
            assert "no answer within 1 seconds" in answer.json()["detail"]
        assert server.post(b'{"rows": [[30]]}' + b" " * 20_000).json() == {"predictions": [{"y": 30}]}


def test_many_at_once_each_get_their_own_answer(house_server):
    def ask(number: int) -> float:
        rows = [[number, 0]] * (1 if number % 2 else 2_000)
        answer = httpx.post(f"{house_server.url}/predict", json={"rows": rows}, timeout=MAX_LENGTH)
        return answer.json()["predictions"][-1]["price"]

    with ThreadPoolExecutor(16) as threads:
        assert list(threads.map(ask, range(60))) == [50 * number + 10 for number in range(60)]
