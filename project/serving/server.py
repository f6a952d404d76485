"""Start a server: a socket, and the processes that share it."""

import os
import socket
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import NoReturn

from project.runtime.errors import UserError
from project.runtime.ranges import Port, PositiveInt
from project.serving.access import NO_SECURITY, Access, Security, check_certificate, read_token
from project.serving.limits import LIMITS, Limits
from project.serving.metadata import read_metadata
from project.serving.metrics import Counters
from project.serving.signals import exit_on_signals

BACKLOG = 2_048
PACKAGES = ("fastapi", "httptools", "onnxruntime", "uvicorn")


def serve(
    path: Path,
    host: str = "127.0.0.1",
    port: Port = 8000,
    workers: PositiveInt = 1,
    threads: PositiveInt = 1,
    limits: Limits = LIMITS,
    security: Security = NO_SECURITY,
) -> NoReturn:
    """Serve an exported model until SIGTERM or SIGINT; then finish running requests, and exit with status 0.

    A file that replaces the model is served from the next request on; SIGHUP reads the file again. `workers` is the
    number of processes, and `threads` the number of threads of each within one operation of the model.

    Raises:
        UserError: If the model cannot be served, the token or the certificate cannot be used, or the address is not
            available.
    """
    exit_on_signals()
    read_metadata(path)  # before anything heavy is imported
    token = read_token(security.token_file) if security.token_file else None
    access = Access(host, security.allowed_hosts, token)
    check_certificate(security)
    listeners, counters = listen(host, port, workers), Counters(workers)
    parent = os.getpid() if workers > 1 else None  # read here: the parent may be killed before a worker looks
    address, port = listeners[0].getsockname()[:2]

    def announce() -> None:
        scheme = "https" if security.ssl_certfile else "http"
        print(f"serving {path} at {scheme}://{f'[{address}]' if ':' in address else address}:{port}", flush=True)

    def work(number: int, on_start: Callable[[], None] = announce) -> NoReturn:
        try:
            from project.serving.worker import answer_requests
        except ModuleNotFoundError as error:
            raise missing_package(error.name) from error
        counters.bind_worker(number)
        answer_requests(path, listeners[number], threads, limits, access, security, counters, parent, on_start)

    if workers == 1:
        work(0)
    from project.serving.supervisor import supervise

    supervise(workers, work, announce)


def require_packages() -> None:
    """Raise a UserError if a package that a server needs is not installed; import nothing."""
    for name in PACKAGES:
        if find_spec(name) is None:
            raise missing_package(name)


def missing_package(package: str | None) -> UserError:
    """Create the error for a package that is not installed."""
    return UserError(f'serving needs {package}; pip install -e ".[serve]"')


def listen(host: str, port: int, workers: int) -> list[socket.socket]:
    """Open a listening socket for each worker, all at one address.

    On Linux, each worker has a socket, and the sockets share the port: the kernel spreads connections over them, while
    a single worker might get all connections of one shared socket. If a worker ends, its replacement gets its socket.

    Raises:
        UserError: If the address is not available.
    """
    spread = workers > 1 and sys.platform == "linux"
    try:
        first = _bound(host, port)  # fails if another program listens there
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
            f"--host {host} --port {port}: {error.strerror}; use another address (--port 0 picks a free port)"
        ) from error
    return listeners


def _bound(host: str, port: int, *options: int) -> socket.socket:
    family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    bound = socket.socket(family, kind, protocol)
    for option in options + (socket.SO_REUSEADDR,) * (os.name == "posix"):  # Windows would share the port
        bound.setsockopt(socket.SOL_SOCKET, option, 1)
    bound.bind(address)
    return bound
