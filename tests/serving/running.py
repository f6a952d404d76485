"""A server in a process of its own, as a user starts it."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from queue import SimpleQueue
from typing import IO, Any

import httpx

from tests.command import script_path

MAX_LENGTH = 120.0  # seconds, to end a hang; a busy machine is slow


class Running:
    """A server that runs.

    Attributes:
        artifact: What it serves.
        url: Where it answers.
        client: What asks it.
        pid: Of the process that was started.
    """

    def __init__(self, artifact: Path, *args: object, **environment: str) -> None:
        self.artifact = artifact
        self.process = subprocess.Popen(
            [sys.executable, str(script_path("serve")), str(artifact), "--port", "0", *map(str, args)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | environment,
        )
        self.pid = self.process.pid
        self._lines = {stream: _lines(stream) for stream in (self.process.stdout, self.process.stderr)}
        line = self.told()
        assert line.startswith("serving "), line or self.stop()
        self.url = line.split()[-1]
        self.client = httpx.Client(base_url=self.url, timeout=MAX_LENGTH)

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    def predict(self, rows: Any) -> Any:
        """Predictions for rows in JSON, which must be taken."""
        answer = self.client.post("/predict", json={"rows": rows})
        assert answer.status_code == 200, answer.text
        return answer.json()["predictions"]

    def post(self, body: Any, kind: str = "application/json") -> httpx.Response:
        """The answer to a body."""
        return self.client.post("/predict", content=body, headers={"content-type": kind})

    def told(self) -> str:
        """The next line that the server prints; empty at the end."""
        return self._lines[self.process.stdout].get(timeout=MAX_LENGTH)

    def complained(self) -> str:
        """The next line on its standard error; empty at the end."""
        return self._lines[self.process.stderr].get(timeout=MAX_LENGTH)

    @property
    def silent(self) -> bool:
        """Whether it has printed nothing since the last line that was read."""
        return all(lines.empty() for lines in self._lines.values())

    def stop(self, number: int = signal.SIGTERM) -> tuple[int, str]:
        """Exit status, and errors that were not asked for yet."""
        self.process.send_signal(number)
        status = self.process.wait(MAX_LENGTH)
        return status, "".join(iter(self.complained, ""))


def _lines(stream: IO[str] | None) -> SimpleQueue[str]:
    """What comes from a stream, line by line, to be waited for with an end; then an empty text."""
    assert stream
    lines: SimpleQueue[str] = SimpleQueue()

    def read() -> None:
        for line in stream:
            lines.put(line)
        lines.put("")

    threading.Thread(target=read, daemon=True).start()
    return lines


@contextmanager
def running(artifact: Path, *args: object, **environment: str) -> Iterator[Running]:
    """A server, stopped at the end, which must have nothing to complain of."""
    server = Running(artifact, *args, **environment)
    try:
        yield server
        if server.process.poll() is None:
            assert server.stop() == (0, "")
    finally:
        server.client.close()
        server.process.kill()
        server.process.wait()


def eventually(true: Any, seconds: float = MAX_LENGTH) -> None:
    """Wait until something is true."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it never was"
        time.sleep(0.05)
