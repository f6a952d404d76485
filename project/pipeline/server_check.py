"""Check a server: its answers, its start-up time, its requests per second, and how it stops."""

import http.client
import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np

from project.inference.open_run import open_run
from project.runtime.errors import UserError
from project.serving.artifact import Array, Artifact
from project.serving.json_rows import JSONRows
from project.serving.metadata import schema_of
from project.serving.text_artifact import TextArtifact, load_artifact
from project.text.sampling import Sampling
from project.text.writing import Tokens, Writing, generate_texts

SCRIPT = Path(__file__).parents[2] / "scripts" / "serve.py"
TOLERANCE = 1e-5, 1e-6  # relative and absolute; with other threads, sums are rounded differently
CHECKED_TEXTS, CHECKED_TOKENS = 8, 32
CHECKED_ROWS, REQUEST_SECONDS, STOP_SECONDS = 256, 2.0, 30.0


def check_server(path: Path, flags: Sequence[str], reference: Path, trust: Sequence[str]) -> dict[str, float]:
    """Serve an ONNX file, compare the answers to test rows of the run `reference` with the file's own, and stop.

    Returns:
        `start_seconds` until the first answer; `requests_per_second` with one row each, sent by one client one after
        another; `rows_checked`.

    Raises:
        UserError: If the server does not start, answers differently, or does not exit with status 0.
    """
    x = open_run(str(reference), trust).datamodule.splits.test.first(CHECKED_ROWS).numpy()
    artifact = load_artifact(path)
    if isinstance(artifact, TextArtifact):
        return _check_text_server(path, flags, artifact, x)
    rows = _sent_rows(artifact, x)
    started = time.perf_counter()
    with _server(path, flags) as (process, port):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=STOP_SECONDS)
        first = _numbers(_ask(connection, rows[:1]), artifact)
        start_seconds = time.perf_counter() - started
        # Batch by batch: with dynamic quantization, an answer depends on the other rows of its batch.
        for found, batch in ((first, rows[:1]), (_numbers(_ask(connection, rows), artifact), rows)):
            expected = _expected(artifact, batch)
            if found.shape != expected.shape or not np.allclose(found, expected, *TOLERANCE):
                raise UserError(f"{path}: the server's predictions for test rows differ from the file's own")
        bodies = [_body(rows[number : number + 1]) for number in range(len(rows))]
        rate = _requests_per_second(lambda body: _post(connection, body), bodies)
        connection.close()
        _stop(path, process)
    return {"start_seconds": start_seconds, "requests_per_second": rate, "rows_checked": len(rows)}


def _check_text_server(path: Path, flags: Sequence[str], artifact: TextArtifact, x: Tokens) -> dict[str, float]:
    """Same as `check_server`, for texts: each continues the first half of a test row by its likeliest tokens."""
    halves = x[:CHECKED_TEXTS, : max(1, x.shape[1] // 2)]
    prompts = [artifact.tokenizer.decode(half).decode(errors="replace") for half in halves]
    writing = Writing(Sampling(temperature=0), CHECKED_TOKENS)
    settings = {"temperature": 0, "max_tokens": CHECKED_TOKENS, "seed": 0}
    bodies = [json.dumps({"prompt": prompt, **settings}).encode() for prompt in prompts]
    started = time.perf_counter()
    with _server(path, flags) as (process, port):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=STOP_SECONDS)
        first = json.loads(_post(connection, bodies[0], "/generate"))
        start_seconds = time.perf_counter() - started
        answers = [first, *(json.loads(_post(connection, body, "/generate")) for body in bodies[1:])]
        for prompt, answer in zip(prompts, answers, strict=True):
            [written] = generate_texts(prompt, artifact.next_logits(), artifact.tokenizer, writing)
            if answer["text"] != written.text:
                raise UserError(f"{path}: the server's texts after test rows differ from the file's own")
        rate = _requests_per_second(lambda body: _post(connection, body, "/generate"), bodies)
        connection.close()
        _stop(path, process)
    return {"start_seconds": start_seconds, "requests_per_second": rate, "rows_checked": len(prompts)}


def _stop(path: Path, process: subprocess.Popen[str]) -> None:
    """Stop a server; raise a UserError if it does not exit with status 0."""
    process.send_signal(signal.SIGTERM)
    status: int | str = f"none within {STOP_SECONDS:.0f} s"
    with suppress(subprocess.TimeoutExpired):
        status = process.wait(STOP_SECONDS)
    if status != 0:
        raise UserError(f"{path}: the server's exit status after SIGTERM is {status}, expected 0")


@contextmanager
def _server(path: Path, flags: Sequence[str]) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """A running server and its port."""
    args = [sys.executable, str(SCRIPT), str(path), "--port", "0", *flags]
    with subprocess.Popen(
        args, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=_exit_with_parent()
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stderr is not None
            found = re.search(r"http://.*:(\d+)$", process.stdout.readline().strip())
            if found is None:
                raise UserError(f"{path}: the server did not start: {' '.join(process.stderr.read().split())}")
            yield process, int(found[1])
        finally:
            process.kill()


def _exit_with_parent() -> Callable[[], None] | None:
    """Send the child SIGTERM when its parent process ends in any way; only Linux can."""
    if sys.platform != "linux":
        return None
    import ctypes

    library, death_signal = ctypes.CDLL(None), 1  # PR_SET_PDEATHSIG of prctl(2)
    return lambda: library.prctl(death_signal, signal.SIGTERM)


def _post(connection: http.client.HTTPConnection, body: bytes, route: str = "/predict") -> bytes:
    connection.request("POST", route, body, {"content-type": "application/json"})
    response = connection.getresponse()
    text = response.read()
    if response.status != 200:
        raise UserError(f"the server answered a test row with {response.status}: {text[:200].decode(errors='replace')}")
    return text


def _sent_rows(artifact: Artifact, x: Array) -> list[Any]:
    """Return test rows (rows, *in_shape) as a client sends them: by field, for tables of several kinds."""
    schema = schema_of(artifact.metadata)
    return x.tolist() if schema is None else schema.decode(x.reshape(len(x), -1).astype(np.float64))


def _body(rows: list[Any]) -> bytes:
    return json.dumps({"rows": rows}).encode()


def _ask(connection: http.client.HTTPConnection, rows: list[Any]) -> list[Any]:
    return json.loads(_post(connection, _body(rows)))["predictions"]


def _numbers(predictions: list[Any], artifact: Artifact) -> Array:
    """Outputs for targets (rows, targets), or probabilities (rows, classes)."""
    if artifact.metadata["class_names"] is not None:
        predictions = [prediction["probabilities"] for prediction in predictions]
    values = np.array([list(prediction.values()) for prediction in predictions])
    return (values - (artifact.metadata.get("target_offsets") or 0)).astype(np.float32)


def _expected(artifact: Artifact, rows: list[Any]) -> Array:
    x, _ = JSONRows(artifact.metadata, len(rows)).read(bytearray(_body(rows)))
    return artifact.predict(x)["outputs" if artifact.metadata["class_names"] is None else "probabilities"]


def _requests_per_second(post: Callable[[bytes], bytes], bodies: Sequence[bytes]) -> float:
    count, started = 0, time.perf_counter()
    while (seconds := time.perf_counter() - started) < REQUEST_SECONDS:
        post(bodies[count % len(bodies)])
        count += 1
    return count / seconds
