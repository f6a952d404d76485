"""An artifact behind its server: whether it answers as it does by itself, how soon and how often, and how it ends."""

import http.client
import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from project.inference.open_run import open_run
from project.runtime.errors import UserError
from project.serving.artifact import Array, Artifact

SCRIPT = Path(__file__).parents[2] / "scripts" / "serve.py"
TOLERANCE = 1e-5, 1e-6  # the server may compute on more threads
CHECKED_ROWS, ASKED_SECONDS, END_SECONDS = 256, 2.0, 30.0


def serve_and_ask(path: Path, flags: Sequence[str], reference: Path, trust: Sequence[str]) -> dict[str, float]:
    """Start a server, compare its answers to test rows with the artifact's own, count requests, and end it by SIGTERM.

    Args:
        path: The artifact.
        flags: Of scripts/serve.py.
        reference: The run whose test rows are asked for.
        trust: Flags that let the run name a module's classes.

    Returns:
        `start_seconds`, and `requests_per_second` of one row each, by one client after one another.

    Raises:
        UserError: If it does not start, answers otherwise, or does not end with exit status 0.
    """
    rows = open_run(str(reference), trust).datamodule.splits.test.x[:CHECKED_ROWS].numpy()
    artifact = Artifact(path)
    began = time.perf_counter()
    with _server(path, flags) as (process, port):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=END_SECONDS)
        first = _numbers(_ask(connection, rows[:1]), artifact)
        started = time.perf_counter() - began
        # Batch by batch: where ranges of integers are found as rows come, answers depend on what comes together.
        for found, asked in ((first, rows[:1]), (_numbers(_ask(connection, rows), artifact), rows)):
            wanted = _expected(artifact, asked)
            if found.shape != wanted.shape or not np.allclose(found, wanted, *TOLERANCE):
                raise UserError(f"{path}: its server answers test rows with other predictions than the file's own")
        rate = _rate(lambda body: _post(connection, body), rows)
        connection.close()
        process.send_signal(signal.SIGTERM)
        try:
            status = process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            raise UserError(f"{path}: its server did not end {END_SECONDS:.0f} s after SIGTERM") from None
    if status:
        raise UserError(f"{path}: its server ended with status {status} at SIGTERM, and not with 0")
    return {"start_seconds": started, "requests_per_second": rate, "rows_asked": len(rows)}


@contextmanager
def _server(path: Path, flags: Sequence[str]) -> Iterator[tuple[subprocess.Popen[str], int]]:
    args = [sys.executable, str(SCRIPT), str(path), "--port", "0", *flags]
    with subprocess.Popen(
        args, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=_ends_with_parent()
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stderr is not None
            found = re.search(r"http://.*:(\d+)$", process.stdout.readline().strip())
            if found is None:
                raise UserError(f"{path}: its server did not start: {' '.join(process.stderr.read().split())}")
            yield process, int(found[1])
        finally:
            process.kill()


def _ends_with_parent() -> Callable[[], None] | None:
    """Has a process get SIGTERM when the one that started it is gone, however that ended; Linux alone knows it."""
    if sys.platform != "linux":
        return None
    import ctypes

    library, death_signal = ctypes.CDLL(None), 1  # PR_SET_PDEATHSIG of prctl(2)
    return lambda: library.prctl(death_signal, signal.SIGTERM)


def _post(connection: http.client.HTTPConnection, body: bytes) -> bytes:
    connection.request("POST", "/predict", body, {"content-type": "application/json"})
    answer = connection.getresponse()
    text = answer.read()
    if answer.status != 200:
        raise UserError(f"the server answered a test row with {answer.status}: {text[:200].decode(errors='replace')}")
    return text


def _body(rows: Array) -> bytes:
    return json.dumps({"rows": rows.tolist()}).encode()


def _ask(connection: http.client.HTTPConnection, rows: Array) -> list[Any]:
    return json.loads(_post(connection, _body(rows)))["predictions"]


def _numbers(answers: list[Any], artifact: Artifact) -> Array:
    """Predictions (rows, targets), or probabilities (rows, classes)."""
    if artifact.metadata["class_names"] is not None:
        answers = [answer["probabilities"] for answer in answers]
    return np.array([list(answer.values()) for answer in answers], np.float32)


def _expected(artifact: Artifact, rows: Array) -> Array:
    return artifact.predict(rows)["outputs" if artifact.metadata["class_names"] is None else "probabilities"]


def _rate(post: Callable[[bytes], bytes], rows: Array) -> float:
    """Requests of one row a second."""
    bodies = [_body(rows[number : number + 1]) for number in range(len(rows))]
    count, began = 0, time.perf_counter()
    while (passed := time.perf_counter() - began) < ASKED_SECONDS:
        post(bodies[count % len(bodies)])
        count += 1
    return count / passed
