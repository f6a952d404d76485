"""One process that answers: uvicorn, and new artifacts while it runs."""

import asyncio
import contextlib
import os
import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn, TextIO

import uvicorn

from project.runtime.errors import UserError
from project.serving.artifact import Artifact
from project.serving.connection import with_timeout
from project.serving.limits import Limits
from project.serving.metrics import Counters
from project.serving.model import Model
from project.serving.pages import pages
from project.serving.service import Served, Service

LOOK_SECONDS = 0.5
FINISH_SECONDS = 3
INTERFACE = ("in_shape", "dynamic_length", "feature_names", "window")


def answer_requests(
    path: Path,
    listener: socket.socket,
    threads: int,
    limits: Limits,
    counters: Counters,
    parent: int | None,
    started: Callable[[], None],
) -> NoReturn:
    """Answer until SIGTERM or SIGINT, or until the process that this one was forked from is gone.

    Args:
        path: The artifact.
        listener: A socket that listens.
        threads: Threads within one operation of the model.
        limits: What a request may ask for.
        counters: Where to count.
        parent: Process that this one ends with; None for none.
        started: Called when answers are given.

    Raises:
        UserError: If the artifact cannot be served.
    """

    def load() -> Served:
        artifact = Artifact(path, threads)
        return Served(Model(artifact, limits), pages(artifact, limits, counters))

    first = _stamp(path)
    service = Service(load(), limits, counters)
    config = uvicorn.Config(
        service,
        http=with_timeout(limits.seconds),
        ws="none",
        lifespan="off",
        log_config=None,
        log_level="error",
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_graceful_shutdown=FINISH_SECONDS,
    )

    class Server(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            self.watching = asyncio.create_task(self.watch())
            started()

        async def watch(self) -> None:
            """Look for another artifact, and after the parent."""
            asked, served, seen = asyncio.Event(), first, first
            if hasattr(signal, "SIGHUP"):
                asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, asked.set)
            while parent in (None, os.getppid()):
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(asked.wait(), LOOK_SECONDS)
                now = _stamp(path)
                # A file that changes from look to look is being written.
                if asked.is_set() or (now == seen and now not in (served, None)):
                    asked.clear()
                    served = now
                    await _swap(service, load)
                seen = now
            self.should_exit = True

    with contextlib.suppress(SystemExit):  # uvicorn raises the signal again that it has obeyed
        Server(config).run([listener])
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)  # a thread that still reads a body, for nobody, would hold an exit


async def _swap(service: Service, load: Callable[[], Served]) -> None:
    """Serve what lies at the artifact's path now, if it can be served in the place of the one before."""
    before = service.served.model.artifact
    try:
        served = await asyncio.to_thread(load)
        for name in INTERFACE:
            if served.model.artifact.metadata[name] != before.metadata[name]:  # type: ignore[literal-required]
                raise UserError(f"{before.path}: has another {name}: start another server for it")
    except Exception as error:  # whatever it is, requests go on
        told = " ".join(str(error).split()) if isinstance(error, UserError) else repr(error)
        _say(f"error: {told}: the model from before goes on", sys.stderr)
    else:
        service.served = served
        _say(f"now serving the new {before.path}", sys.stdout)


def _say(line: str, stream: TextIO) -> None:
    stream.write(f"{line}\n")  # at once, since other workers say something as well
    stream.flush()


def _stamp(path: Path) -> tuple[int, int, int] | None:
    """What tells a file from another one at the same place; None of no file."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino
