"""Signals, new artifacts and several processes, all real."""

import http.client
import json
import os
import shutil
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.serving.artifacts import metadata, write_linear, write_waiting
from tests.serving.running import MAX_LENGTH, Running, eventually, running


@pytest.fixture
def model(tmp_path):
    """Writes an artifact that always answers the same, in the place of the one before."""

    def write(answer: float, features: list[str] | None = None) -> Path:
        path = tmp_path / "model.onnx"
        write_linear(tmp_path / "new", [[0.0]] * len(features or "a"), [answer], metadata(features or ["a"], ["y"]))
        (tmp_path / "new").rename(path)
        return path

    return write


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def listens_to(number: int, pid: int) -> bool:
    """Whether a process catches a signal, which a server does from when it answers."""
    caught = next(line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("SigCgt"))
    return bool(int(caught.split()[1], 16) >> (number - 1) & 1)


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().split(") ")[1][0] != "Z"
    except FileNotFoundError:
        return False


def answers(server: Running, count: int = 40) -> set[float]:
    """What is answered over so many new connections, to reach every worker."""
    found = set()
    for _ in range(count):
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=MAX_LENGTH)
        connection.request("POST", "/predict", '{"rows": [[1]]}', {"content-type": "application/json"})
        found.add(json.loads(connection.getresponse().read())["predictions"][0]["y"])
        connection.close()
    return found


@contextmanager
def begun(server: Running, length: int) -> Iterator[socket.socket]:
    """A connection whose request a worker is reading: its head is sent, and the server asks for the body."""
    head = ["POST /predict HTTP/1.1", "Host: localhost", "Content-Type: application/json", f"Content-Length: {length}"]
    with socket.create_connection(("127.0.0.1", server.port), timeout=MAX_LENGTH) as connection:
        connection.sendall("\r\n".join([*head, "Expect: 100-continue", "", ""]).encode())
        answer = b""
        while not answer.endswith(b"\r\n\r\n"):
            answer += connection.recv(1)
        assert answer.startswith(b"HTTP/1.1 100 ")
        yield connection


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("workers", [1, 2])
def test_what_is_under_way_is_finished_and_all_processes_end(model, number, workers):
    text = json.dumps({"rows": [[1]]}).encode()
    with running(model(7), "--workers", workers) as server:
        processes = [server.pid, *children(server.pid)]
        assert len(processes) == (1 if workers == 1 else 3)
        server.predict([[1]])  # leaves an idle connection
        with begun(server, len(text)) as connection:
            connection.sendall(text[:5])
            server.process.send_signal(number)
            time.sleep(0.3)
            connection.sendall(text[5:])
            answer = b"".join(iter(lambda: connection.recv(1_000), b""))
        assert answer.startswith(b"HTTP/1.1 200 ")
        assert answer.endswith(b'{"predictions": [{"y": 7}]}')
        assert server.process.wait(MAX_LENGTH) == 0
        assert not any(map(is_alive, processes))
        assert server.complained() == ""


def test_who_never_finishes_holds_no_exit(model):
    with running(model(7), "--workers", 2, "--max_seconds", 100_000) as server:
        processes = [server.pid, *children(server.pid)]
        with begun(server, length=9) as connection:
            connection.sendall(b"a")
            status, told = server.stop()
            assert status == 0
            assert told == "Cancel 1 running task(s), timeout graceful shutdown exceeded\n"
            assert connection.recv(1_000).startswith(b"HTTP/1.1 503 ")
        assert not any(map(is_alive, processes))


def test_what_takes_too_long_holds_no_exit(tmp_path):
    text = b'{"rows": [[1e9]]}' + b" " * 20_000
    waiting = write_waiting(tmp_path / "waiting.onnx")
    with running(waiting, "--max_seconds", 100_000) as server, begun(server, len(text)) as connection:
        connection.sendall(text)
        status, _ = server.stop()
        assert status == 0
        assert connection.recv(1_000).startswith(b"HTTP/1.1 503 ")


@pytest.mark.parametrize(
    ("workers", "asked"),
    [(2, True), *(pytest.param(*both, marks=pytest.mark.slow) for both in ((1, True), (1, False), (2, False)))],
)
def test_a_new_artifact_swaps_in_without_a_lost_request(model, workers, asked):
    with running(model(0), "--workers", workers) as server:
        stop, found, lost = threading.Event(), [], []

        def rush() -> None:
            with httpx.Client(base_url=server.url, timeout=MAX_LENGTH) as client:
                while not stop.is_set():
                    answer = client.post("/predict", json={"rows": [[1]]})
                    (found if answer.status_code == 200 else lost).append(answer.json()["predictions"][0]["y"])

        threads = [threading.Thread(target=rush) for _ in range(4)]
        for thread in threads:
            thread.start()
        eventually(lambda: len(found) > 10)
        for number in (1, 2):
            model(number)
            if asked:
                server.process.send_signal(signal.SIGHUP)
            eventually(lambda: answers(server) == {number})  # noqa: B023
        stop.set()
        for thread in threads:
            thread.join()
        assert not lost
        assert set(found) == {0, 1, 2}


def test_a_bad_new_artifact_is_told_and_the_old_one_stays(model):
    path = model(5)
    with running(path) as server:
        bad_artifacts(server, model, path)


def bad_artifacts(server: Running, model: Any, path: Path) -> None:
    def told(wrong: str) -> None:
        line = server.complained().strip()
        assert line.startswith(f"error: {path}: ")
        assert line.endswith("still serving the previous model")
        assert wrong in line
        assert answers(server, 3) == {5}

    path.write_bytes(path.read_bytes()[:-10])
    told("damaged")
    server.process.send_signal(signal.SIGHUP)
    told("damaged")
    model(6, ["a", "b"])
    told("in_shape differs")
    path.unlink()
    server.process.send_signal(signal.SIGHUP)
    told("no such file")
    model(8)
    assert server.told().startswith("now serving the new")
    assert answers(server, 3) == {8}


@pytest.mark.parametrize("workers", [pytest.param(1, marks=pytest.mark.slow), 2])
def test_what_is_no_file_ends_neither_swaps_nor_the_reaction_to_signals(model, workers):
    path = model(5)
    with running(path, "--workers", workers) as server:
        for pid in children(server.pid):
            eventually(lambda: listens_to(signal.SIGHUP, pid))  # noqa: B023
        for kind, make in [("a folder", Path.mkdir), ("not a regular file", os.mkfifo)]:
            path.unlink()
            make(path)
            for _ in range(workers):
                line = server.complained()
                assert line.startswith(f"error: {path}: is {kind}; ")
                assert line.endswith("; still serving the previous model\n")
            assert answers(server, 5) == {5}
            if path.is_dir():
                path.rmdir()
                model(5)
                assert all(server.told().startswith("now serving the new") for _ in range(workers))
        assert server.stop() == (0, "")


def test_a_file_that_is_being_written_is_left_alone_until_it_is_whole(model, tmp_path):
    path = model(5)
    whole = write_linear(tmp_path / "other.onnx", [[0.0]], [6.0], metadata(["a"], ["y"])).read_bytes()
    with running(path) as server:
        with path.open("wb") as file:
            for start in range(0, len(whole), len(whole) // 40):
                file.write(whole[start : start + len(whole) // 40])
                file.flush()
                time.sleep(0.05)  # longer than two looks of the server in all, and each pause much shorter than one
        assert server.told().startswith("now serving the new")
        assert answers(server, 3) == {6}


def test_sighup_reaches_every_worker_and_loads_the_same_file_too(model):
    with running(model(5), "--workers", 2) as server:
        for pid in children(server.pid):
            eventually(lambda: listens_to(signal.SIGHUP, pid))  # noqa: B023
        server.process.send_signal(signal.SIGHUP)
        assert [server.told(), server.told()] == [f"now serving the new {server.artifact}\n"] * 2


def test_a_worker_that_is_killed_is_replaced(model):
    with running(model(5), "--workers", 2) as server:
        before = children(server.pid)
        os.kill(before[0], signal.SIGKILL)
        assert server.complained() == "worker 0 exited with status -9; starting another one\n"
        eventually(lambda: len(set(children(server.pid)) - set(before)) == 1)
        [new] = set(children(server.pid)) - set(before)
        eventually(lambda: listens_to(signal.SIGHUP, new))
        assert answers(server, 5) == {5}


def test_no_worker_outlives_a_parent_that_is_killed(model):
    with running(model(5), "--workers", 2) as server:
        workers = children(server.pid)
        assert len(workers) == 2
        server.process.kill()
        server.process.wait()
        eventually(lambda: not any(map(is_alive, workers)))


def test_connections_are_spread_over_all_workers(model):
    def held(pid: int) -> int:
        return len(list(Path(f"/proc/{pid}/fd").iterdir()))

    with running(model(5), "--workers", 2) as server:
        for pid in children(server.pid):
            eventually(lambda: listens_to(signal.SIGHUP, pid))  # noqa: B023
        before = [held(pid) for pid in children(server.pid)]
        connections = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(40)]
        eventually(lambda: sum(map(held, children(server.pid))) == sum(before) + 40)
        assert min(held(pid) - start for pid, start in zip(children(server.pid), before, strict=True)) >= 5
        for connection in connections:
            connection.close()


def test_figures_are_those_of_all_workers(model):
    with running(model(5), "--workers", 2) as server:
        answers(server, 30)
        for _ in range(5):
            text = httpx.get(f"{server.url}/metrics").text
            assert 'serving_requests_total{path="/predict",status="200"} 30\n' in text
            assert "serving_rows_total 30\n" in text


def test_metadata_and_page_are_those_of_the_new_artifact(model, tmp_path):
    with running(model(5)) as server:
        described = metadata(["a"], ["y"], metrics={"test/mse": 0.125})
        write_linear(tmp_path / "new", [[0.0]], [5.0], described)
        shutil.move(tmp_path / "new", tmp_path / "model.onnx")
        assert server.told().startswith("now serving the new")
        assert server.client.get("/metadata").json()["metrics"] == {"test/mse": 0.125}
