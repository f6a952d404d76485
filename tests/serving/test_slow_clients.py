"""Clients that send or read slowly take nothing from others."""

import json
import resource
import select
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress

import httpx
import numpy as np
import pytest

from tests.serving.artifacts import metadata, write_linear
from tests.serving.running import MAX_LENGTH, Running, eventually, running

BODY = b'{"rows": [[1, 1]]}'
HEAD = b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 900\r\n\r\n"
STARTS = [b"", HEAD[:30], HEAD + b'{"rows": [[']


def connected(server: Running, stack: ExitStack) -> socket.socket:
    return stack.enter_context(socket.create_connection(("127.0.0.1", server.port), timeout=MAX_LENGTH))


@contextmanager
def slow_clients(server: Running, count: int) -> Iterator[list[socket.socket]]:
    """Connections that send a byte a second, and come again when the server closes them."""
    stopped, stack = threading.Event(), ExitStack()

    def connect(number: int) -> socket.socket:
        connection = connected(server, stack)
        connection.sendall(STARTS[number % len(STARTS)])
        return connection

    def trickle() -> None:
        while not stopped.wait(1):
            for number, connection in enumerate(connections):
                try:
                    connection.send(b"1")
                except OSError:
                    connection.close()
                    connections[number] = connect(number)

    with stack:
        connections = [connect(number) for number in range(count)]
        thread = threading.Thread(target=trickle)
        thread.start()
        yield connections
        stopped.set()
        thread.join()


def answered(server: Running, count: int) -> int:
    """How many requests of so many are answered well, over new connections and over one that is kept."""

    def ask(number: int) -> bool:
        request = kept.post if number % 2 else httpx.post
        headers = {"content-type": "application/json"}
        return request(f"{server.url}/predict", content=BODY, headers=headers, timeout=MAX_LENGTH).status_code == 200

    with httpx.Client(limits=httpx.Limits(max_connections=4)) as kept, ThreadPoolExecutor(8) as threads:
        return sum(threads.map(ask, range(count)))


def test_clients_that_send_a_byte_a_second_take_no_place(houses):
    with running(houses, "--max_requests", 5) as server, slow_clients(server, 200):
        assert answered(server, 200) == 200


@pytest.mark.slow
@pytest.mark.parametrize("count", [200, 500])
def test_thousands_are_answered_among_hundreds_of_slow_clients(houses, count):
    with running(houses) as server, slow_clients(server, count):
        assert answered(server, 4_000) == 4_000


def test_the_oldest_idle_connection_makes_room(houses):
    with running(houses, "--max_connections", 20) as server, ExitStack() as stack:
        idle = [connected(server, stack) for _ in range(20)]
        assert server.predict([[1, 1]]) == [{"price": 59}]
        assert idle[0].recv(1_000).startswith(b"HTTP/1.1 503 ")
        idle[-1].sendall(HEAD.replace(b"900", b"%d" % len(BODY)) + BODY)
        assert idle[-1].recv(1_000).startswith(b"HTTP/1.1 200 ")
        assert answered(server, 100) == 100


def test_clients_below_the_least_rate_are_told_and_left(houses):
    with running(houses) as server, ExitStack() as stack:
        connections = [connected(server, stack) for _ in STARTS]
        for connection, start in zip(connections, STARTS, strict=True):
            connection.sendall(start)
        for connection in connections:
            answer = b"".join(iter(lambda: connection.recv(1_000), b""))  # noqa: B023
            assert answer.startswith(b"HTTP/1.1 408 ")
            assert "less than 100 bytes per second" in json.loads(answer.partition(b"\r\n\r\n")[2])["detail"]


def test_unfinished_bodies_make_room_for_others(houses):
    with running(houses, "--max_bytes", 10**7, "--max_memory", 10**7) as server, ExitStack() as stack:
        uploads = [connected(server, stack) for _ in range(4)]
        for upload in uploads:
            upload.sendall(HEAD.replace(b"900", b"9000000"))
            with suppress(ConnectionError):
                upload.sendall(b" " * 4_000_000)
        refused, *_ = select.select(uploads, [], [], MAX_LENGTH)
        assert all(b"is receiving too much" in upload.recv(1_000) for upload in refused)
        assert 1 <= len(refused) <= 3
        # While an upload still arrives, this request may be told to come again.
        eventually(lambda: server.post(BODY + b" " * 3_000_000).status_code == 200)


def test_answers_that_are_not_read_are_given_up(tmp_path):
    names = [f"y{number:04}" for number in range(1_000)]
    artifact = write_linear(tmp_path / "wide.onnx", np.zeros((1, 1_000)), np.ones(1_000), metadata(["x"], names))
    body = json.dumps({"rows": [[1]] * 400}).encode()  # 400,000 predictions, in 6 MB
    with running(artifact, "--max_seconds", 5, "--max_bytes", 10**6) as server, ExitStack() as stack:
        for _ in range(10):
            connected(server, stack).sendall(HEAD.replace(b"900", b"%d" % len(body)) + body)
        # Each connection is closed in time, although nobody reads.
        eventually(lambda: open_connections(server) == 0)
        assert server.predict([[1]])[0]["y0999"] == 1


def open_connections(server: Running) -> int:
    """How many connections the server has accepted."""
    pattern = f":{server.port:04X}"
    lines = [line.split() for line in open("/proc/net/tcp").readlines()[1:]]  # noqa: PTH123, SIM115
    return sum(local.endswith(pattern) and state == "01" for _, local, _, state, *_ in lines)


def test_a_server_without_file_descriptors_says_so_once_and_recovers(houses):
    server = Running(houses)
    try:
        assert server.predict([[1, 1]]) == [{"price": 59}]
        resource.prlimit(server.pid, resource.RLIMIT_NOFILE, (40, 40))
        with ExitStack() as stack:
            for _ in range(100):
                connected(server, stack)
            line = server.complained()
            assert line == "error: cannot accept a connection: Too many open files; closing the oldest idle ones\n"
            assert answered(server, 5) == 5
        assert answered(server, 20) == 20
        assert server.stop() == (0, "")
    finally:
        server.client.close()
        server.process.kill()
        server.process.wait()
