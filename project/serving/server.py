"""From a command line to answers: a socket, and the processes that share it."""

import os
import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from project.errors import UserError
from project.serving.limits import Limits
from project.serving.metadata import read_metadata
from project.serving.metrics import Counters


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
    leave_at_signals()
    read_metadata(path)  # before anything heavy is imported
    listener, counters = _listen(host, port), Counters(workers)
    shown, port = listener.getsockname()[:2]

    def announce() -> None:
        print(f"serving {path} at http://{f'[{shown}]' if ':' in shown else shown}:{port}", flush=True)

    def work(number: int, started: Callable[[], None] = announce) -> NoReturn:
        from project.serving.worker import answer_requests

        counters.be(number)
        answer_requests(path, listener, threads, limits, counters, os.getppid() if workers > 1 else None, started)

    if workers == 1:
        work(0)
    from project.serving.supervisor import supervise

    supervise(workers, work, announce)


def leave_at_signals() -> None:
    """Have signals to stop end the process as they should before it serves, and those to load anew be of no effect."""
    signal.signal(signal.SIGTERM, _leave)
    signal.signal(signal.SIGINT, _leave)
    if hasattr(signal, "SIGHUP"):
        signal.signal(signal.SIGHUP, signal.SIG_IGN)


def _leave(*_: object) -> NoReturn:
    sys.exit(0)


def _listen(host: str, port: int) -> socket.socket:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, protocol)
        if os.name == "posix":  # elsewhere it would let two servers share a port
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(2_048)  # workers that are about to start keep nobody waiting for more than that
    except (OSError, OverflowError) as error:
        told = getattr(error, "strerror", None) or error
        raise UserError(f"--host {host} --port {port}: {told}: give others; --port 0 takes a free one") from error
    return listener
