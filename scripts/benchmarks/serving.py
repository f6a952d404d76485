"""Throughput, memory and start-up of this project's server, compared with other servers of the same linear model."""

import http.client
import importlib.util
import json
import os
import random
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from benchmarks.contestants import experiment, project_epochs
from benchmarks.servers import FEATURES
from benchmarks.suite import OURS, SCRIPTS, Measurement, environment
from project.exporting.export import export
from project.runtime.errors import UserError

PREDICT = "/predict"
CONNECTIONS, ROWS, ROUNDS, MAX_SECONDS = 8, 10_000, 5, 60.0
PEERS = {
    "LitServe": ["benchmarks.litserve_server"],
    "FastAPI and torch": ["benchmarks.servers", "fastapi_torch"],
    "scikit-learn in the same server": ["benchmarks.servers", "scikit_learn"],
    "FastAPI and scikit-learn": ["benchmarks.servers", "fastapi_scikit_learn"],
}


class Server(NamedTuple):
    """A running server: its port, seconds from start to first response, and bytes of memory at that time."""

    port: int
    seconds: float
    memory: float


def serving(quick: bool) -> Iterator[Measurement]:
    """Measure requests and rows per second, memory and start-up of one server process; `quick` takes less time."""
    if importlib.util.find_spec("litserve") is None:
        raise UserError("the comparison needs LitServe; install it with pip install litserve")
    with tempfile.TemporaryDirectory() as folder, ExitStack() as running:
        run = experiment(1_000, FEATURES, 100, "--trainer.max_epochs", "1")
        project_epochs(run)
        artifact = export(str(run.experiment.run_folder.path), Path(folder) / "linear.onnx").path
        servers = {OURS: running.enter_context(started(artifact))}
        servers |= {name: running.enter_context(started(artifact, module)) for name, module in PEERS.items()}
        seconds, peers = (0.5 if quick else 2.0), list(PEERS)
        yield from rates(f"requests per second, {CONNECTIONS} connections", servers, peers[:2], 1, CONNECTIONS, seconds)
        yield from rates(f"rows per second, {ROWS:,} rows per request", servers, peers[2:], ROWS, 1, seconds)
        ours = servers[OURS]
        for name in peers[:2]:
            ratio, theirs = ours.memory / servers[name].memory, servers[name].memory / 2**20
            yield Measurement(
                "memory at first response", OURS, ours.memory / 2**20, ratio, f"{name} ({theirs:.0f} MiB)", "MiB"
            )
        for name in peers[:2]:
            ratio, theirs = ours.seconds / servers[name].seconds, servers[name].seconds
            yield Measurement("start to first response", OURS, ours.seconds, ratio, f"{name} ({theirs:.2f} s)")


def rates(
    what: str, servers: dict[str, Server], peers: list[str], rows: int, connections: int, seconds: float
) -> Iterator[Measurement]:
    """Measure this project's rate and each peer's in turn, and compare medians over rounds."""
    body, found = rows_in_json(rows), dict[str, list[float]]()
    for _ in range(ROUNDS):
        for name in [OURS, *peers]:
            found.setdefault(name, []).append(rows * load(servers[name].port, body, connections, seconds))
    medians = {name: statistics.median(values) for name, values in found.items()}
    for name in peers:
        yield Measurement(
            what, OURS, medians[OURS], medians[OURS] / medians[name], f"{name} ({medians[name]:,.0f} /s)", "/s"
        )


def rows_in_json(rows: int) -> bytes:
    """Build a request body with rows of random numbers."""
    generator = random.Random(0)
    return json.dumps({"rows": [[generator.gauss(0, 1) for _ in range(FEATURES)] for _ in range(rows)]}).encode()


def load(port: int, body: bytes, connections: int, seconds: float, path: str = PREDICT) -> float:
    """Measure requests per second, sent by a separate process."""
    args = [sys.executable, "-m", "benchmarks.load", str(port), str(connections), str(seconds), path]
    done = subprocess.run(args, input=body, capture_output=True, check=True, timeout=MAX_SECONDS, env=environment())
    return float(done.stdout)


@contextmanager
def started(
    artifact: Path, module: list[str] | None = None, path: str = PREDICT, body: bytes | None = None
) -> Iterator[Server]:
    """Start a server and wait for its first response; kill it and its child processes at the end.

    Args:
        artifact: File to serve.
        module: Module of a peer and its arguments; None for this project's server.
        path: Path of the requests.
        body: Body of the requests; by default a row to predict.
    """
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    args = ["-m", *module, str(port)] if module else [SCRIPTS / "serve.py", "--port", str(port)]
    start = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, *args, artifact], stdout=subprocess.DEVNULL, start_new_session=True, env=environment()
    )
    try:
        while not responds(port, path, body):
            if process.poll() is not None or time.perf_counter() - start > MAX_SECONDS:
                raise UserError(f"{' '.join(module or ['scripts/serve.py'])} did not start")
            time.sleep(0.005)
        yield Server(port, time.perf_counter() - start, memory(process.pid))
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def responds(port: int, path: str = PREDICT, body: bytes | None = None) -> bool:
    """Return whether a server answers a request."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=MAX_SECONDS)
    try:
        connection.request("POST", path, body or rows_in_json(1), {"content-type": "application/json"})
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


def memory(group: int) -> float:
    """Return the resident bytes of all processes of a group."""
    pages = 0
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if int((folder / "stat").read_text().rpartition(")")[2].split()[2]) == group:
                pages += int((folder / "statm").read_text().split()[1])
        except (FileNotFoundError, ProcessLookupError):  # the process has just ended
            continue
    return pages * os.sysconf("SC_PAGE_SIZE")
