"""From a command line to answers: a socket, and the processes that share it."""

import math
import os
import socket
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import NoReturn

from project.runtime.errors import UserError
from project.serving.limits import Limits
from project.serving.metadata import read_metadata
from project.serving.metrics import Counters
from project.serving.signals import exit_on_signals

BACKLOG = 2_048
PACKAGES = ("fastapi", "httptools", "onnxruntime", "uvicorn")


def serve(path: Path, host: str, port: int, workers: int, threads: int, limits: Limits) -> NoReturn:
    """Serve an artifact until SIGTERM or SIGINT; then finish what is under way, and exit with status 0.

    Args:
        path: The artifact. Where the file is replaced, or at SIGHUP, the new one answers from the next request on.
        host: Address to listen on.
        port: Port to listen on; 0 takes a free one.
        workers: Processes that answer.
        threads: Threads of each within one operation of the model.
        limits: What a request may ask for.

    Raises:
        UserError: If the artifact cannot be served, or the address not be listened on.
    """
    exit_on_signals()
    limited = {f"max_{name}": value for name, value in limits._asdict().items() if name != "seconds"}
    require_counts(workers=workers, threads=threads, **limited)
    if not 0 <= port < 2**16:
        raise UserError(f"--port is {port}: give one below {2**16}, or 0 for a free one")
    if not 0 < limits.seconds < math.inf:
        raise UserError(f"--max_seconds is {limits.seconds}: give more than 0")
    read_metadata(path)  # before anything heavy is imported
    listeners, counters = listen(host, port, workers), Counters(workers)
    parent = os.getpid() if workers > 1 else None  # asked before it may have been killed
    shown, port = listeners[0].getsockname()[:2]

    def announce() -> None:
        print(f"serving {path} at http://{f'[{shown}]' if ':' in shown else shown}:{port}", flush=True)

    def work(number: int, started: Callable[[], None] = announce) -> NoReturn:
        try:
            from project.serving.worker import answer_requests
        except ModuleNotFoundError as error:
            raise missing_package(error.name) from error
        counters.be(number)
        answer_requests(path, listeners[number], threads, limits, counters, parent, started)

    if workers == 1:
        work(0)
    from project.serving.supervisor import supervise

    supervise(workers, work, announce)


def require_counts(**flags: int) -> None:
    """Raise a UserError that names a flag whose value is below 1."""
    for flag, value in flags.items():
        if value < 1:
            raise UserError(f"--{flag} is {value}: give 1 or more")


def require_packages() -> None:
    """Raise a UserError unless there is everything that a server is made of; nothing is imported."""
    for name in PACKAGES:
        if find_spec(name) is None:
            raise missing_package(name)


def missing_package(package: str | None) -> UserError:
    """That a package is not there, and how to get it."""
    return UserError(f'serving needs {package}: pip install -e ".[serve]"')


def listen(host: str, port: int, workers: int) -> list[socket.socket]:
    """A socket for each worker, all at one address.

    Linux spreads connections over sockets that share a port, where workers that share a socket race for it, and one
    gets them all. What waits at a socket outlives a worker that ends, for the one that comes in its place.
    """
    spread = workers > 1 and sys.platform == "linux"
    try:
        first = _bound(host, port)  # fails where another program listens
        if not spread:
            first.listen(BACKLOG)
            return [first] * workers
        address = first.getsockname()[:2]
        first.close()
        listeners = [_bound(*address, socket.SO_REUSEPORT) for _ in range(workers)]
        for listener in listeners:
            listener.listen(BACKLOG)
    except OSError as error:
        raise UserError(
            f"--host {host} --port {port}: {error.strerror}: give others; --port 0 takes a free one"
        ) from error
    return listeners


def _bound(host: str, port: int, *options: int) -> socket.socket:
    family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    bound = socket.socket(family, kind, protocol)
    for option in options + (socket.SO_REUSEADDR,) * (os.name == "posix"):  # elsewhere that would share a port
        bound.setsockopt(socket.SOL_SOCKET, option, 1)
    bound.bind(address)
    return bound
