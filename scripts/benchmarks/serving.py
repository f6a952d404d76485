"""How fast a server answers, beside others around the same linear model."""

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
from benchmarks.suite import OURS, Figure
from project.export.export import export
from project.runtime.errors import UserError

SCRIPTS = Path(__file__).parents[1]
CONNECTIONS, ROWS, ROUNDS, MAX_SECONDS = 8, 10_000, 5, 60.0
PEERS = {
    "LitServe": ["benchmarks.litserve_server"],
    "FastAPI and torch": ["benchmarks.servers", "fastapi_torch"],
    "scikit-learn in the same server": ["benchmarks.servers", "scikit_learn"],
    "FastAPI and scikit-learn": ["benchmarks.servers", "fastapi_scikit_learn"],
}


class Server(NamedTuple):
    """One that has answered: its port, the seconds from its start to that answer, and its bytes of memory then."""

    port: int
    seconds: float
    memory: float


def serving(quick: bool) -> Iterator[Figure]:
    """Requests and rows a second, memory and start-up, of one server process; `quick` looks for a shorter time."""
    if importlib.util.find_spec("litserve") is None:
        raise UserError("the comparison with LitServe needs it: pip install litserve")
    with tempfile.TemporaryDirectory() as folder, ExitStack() as running:
        run = experiment(1_000, FEATURES, 100, "--trainer.max_epochs", "1")
        project_epochs(run)
        artifact = export(str(run.run_folder.path), Path(folder) / "linear.onnx").path
        servers = {OURS: running.enter_context(started(artifact))}
        servers |= {name: running.enter_context(started(artifact, module)) for name, module in PEERS.items()}
        seconds, peers = (0.5 if quick else 2.0), list(PEERS)
        yield from rates(f"requests a second, {CONNECTIONS} connections", servers, peers[:2], 1, CONNECTIONS, seconds)
        yield from rates(f"rows a second, {ROWS:,} a request", servers, peers[2:], ROWS, 1, seconds)
        ours = servers[OURS]
        for name in peers[:2]:
            ratio, theirs = ours.memory / servers[name].memory, servers[name].memory / 2**20
            yield Figure(
                "memory at first answer", OURS, ours.memory / 2**20, ratio, f"{name} ({theirs:.0f} MiB)", "MiB"
            )
        for name in peers[:2]:
            ratio, theirs = ours.seconds / servers[name].seconds, servers[name].seconds
            yield Figure("start to first answer", OURS, ours.seconds, ratio, f"{name} ({theirs:.2f} s)")


def rates(
    what: str, servers: dict[str, Server], peers: list[str], rows: int, connections: int, seconds: float
) -> Iterator[Figure]:
    """Our rate and each peer's, asked in turn, as medians over rounds."""
    body, found = rows_in_json(rows), dict[str, list[float]]()
    for _ in range(ROUNDS):
        for name in [OURS, *peers]:
            found.setdefault(name, []).append(rows * load(servers[name].port, body, connections, seconds))
    medians = {name: statistics.median(values) for name, values in found.items()}
    for name in peers:
        yield Figure(
            what, OURS, medians[OURS], medians[OURS] / medians[name], f"{name} ({medians[name]:,.0f} /s)", "/s"
        )


def rows_in_json(rows: int) -> bytes:
    """A request for predictions for rows of random numbers."""
    generator = random.Random(0)
    return json.dumps({"rows": [[generator.gauss(0, 1) for _ in range(FEATURES)] for _ in range(rows)]}).encode()


def load(port: int, body: bytes, connections: int, seconds: float) -> float:
    """Requests a second, asked by a process of their own."""
    args = [sys.executable, "-m", "benchmarks.load", str(port), str(connections), str(seconds)]
    done = subprocess.run(args, input=body, capture_output=True, check=True, timeout=MAX_SECONDS, env=environment())
    return float(done.stdout)


def environment() -> dict[str, str]:
    """Environment variables with which a child process finds this package."""
    return os.environ | {"PYTHONPATH": str(SCRIPTS)}


@contextmanager
def started(artifact: Path, module: list[str] | None = None) -> Iterator[Server]:
    """A server that has answered once: ours, or that of a module and its args; ended with all of its processes."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    args = ["-m", *module, str(port)] if module else [SCRIPTS / "serve.py", "--port", str(port)]
    start = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, *args, artifact], stdout=subprocess.DEVNULL, start_new_session=True, env=environment()
    )
    try:
        while not answers(port):
            if process.poll() is not None or time.perf_counter() - start > MAX_SECONDS:
                raise UserError(f"{' '.join(module or ['scripts/serve.py'])} does not start")
            time.sleep(0.005)
        yield Server(port, time.perf_counter() - start, memory(process.pid))
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def answers(port: int) -> bool:
    """Whether a server predicts a row."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=MAX_SECONDS)
    try:
        connection.request("POST", "/predict", rows_in_json(1), {"content-type": "application/json"})
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


def memory(group: int) -> float:
    """Resident bytes of all processes of a group."""
    pages = 0
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if int((folder / "stat").read_text().rpartition(")")[2].split()[2]) == group:
                pages += int((folder / "statm").read_text().split()[1])
        except (FileNotFoundError, ProcessLookupError):  # it has ended meanwhile
            continue
    return pages * os.sysconf("SC_PAGE_SIZE")
