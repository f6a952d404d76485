"""One process that answers requests with uvicorn, and reloads the model when its file is replaced."""

import asyncio
import contextlib
import os
import signal
import socket
import sys
import warnings
from collections.abc import Callable, Coroutine
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

import uvicorn

from project.runtime.errors import UserError
from project.serving.access import Access, Security
from project.serving.connection import Clients, Connection
from project.serving.limits import Limits
from project.serving.memory import MemoryBudget
from project.serving.metrics import Counters
from project.serving.model import Model
from project.serving.pages import pages
from project.serving.resources import EXHAUSTED, ResourceErrors, open_files
from project.serving.service import Served, Service
from project.serving.text_artifact import TextArtifact, load_artifact
from project.serving.text_model import TextModel

POLL_SECONDS = 0.5
SHUTDOWN_SECONDS = 3
FileVersion = tuple[int, int, int]

INTERFACE = ("in_shape", "dynamic_length", "feature_names", "window")  # metadata that a new file must share


def answer_requests(
    path: Path,
    listener: socket.socket,
    threads: int,
    limits: Limits,
    access: Access,
    security: Security,
    counters: Counters,
    parent: int | None,
    on_start: Callable[[], None],
) -> NoReturn:
    """Answer requests until SIGTERM or SIGINT, or until the process `parent` has ended.

    `on_start` is called once requests are answered. Raise a UserError if the model cannot be served.
    """

    def load() -> Served:
        artifact = load_artifact(path, threads)
        routes = pages(artifact, limits, counters)
        if isinstance(artifact, TextArtifact):
            return Served(TextModel(artifact, limits, budget), routes)
        return Served(Model(artifact, limits, budget), routes)

    limits = limits._replace(connections=open_files(limits.connections))
    budget, clients = MemoryBudget(limits.memory, limits.seconds), Clients(limits)
    first = _file_version(path)
    service = Service(load(), limits, access, counters)
    config = _config(service, clients, security)
    server = Server(config, ResourceErrors(clients), partial(_watch, path, first, parent, service, load), on_start)
    os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")  # the only pool that returns a table's memory
    # A signal may end the process after uvicorn has created its coroutine and before it awaits it.
    warnings.filterwarnings("ignore", ".* was never awaited", RuntimeWarning)
    with contextlib.suppress(SystemExit):  # uvicorn raises the signal again after shutting down
        server.run([listener])
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)  # a normal exit would wait for threads that still compute


def _config(service: Service, clients: Clients, security: Security) -> uvicorn.Config:
    return uvicorn.Config(
        service,
        http=partial(Connection, clients=clients),  # type: ignore[arg-type]
        ws="none",
        lifespan="off",
        log_config=None,
        log_level="error",
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_graceful_shutdown=SHUTDOWN_SECONDS,
        ssl_certfile=security.ssl_certfile,
        ssl_keyfile=security.ssl_keyfile,
    )


class Server(uvicorn.Server):
    """uvicorn's server, which ends when `watch` does.

    Args:
        config: Its configuration.
        errors: Handles exceptions of the event loop.
        watch: Runs while requests are answered.
        on_start: Called once requests are answered.
    """

    def __init__(
        self,
        config: uvicorn.Config,
        errors: ResourceErrors,
        watch: Callable[[], Coroutine[Any, Any, None]],
        on_start: Callable[[], None],
    ) -> None:
        super().__init__(config)
        self.errors, self.watch, self.on_start = errors, watch, on_start

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start to answer requests."""
        asyncio.get_running_loop().set_exception_handler(self.errors)
        await super().startup(sockets)
        self.watching = asyncio.create_task(self.watch())
        self.watching.add_done_callback(self._stop)
        self.on_start()

    def _stop(self, _: asyncio.Task[None]) -> None:
        self.should_exit = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Finish the requests that have begun."""
        self.errors.is_stopping = True
        await super().shutdown(sockets)


async def _watch(
    path: Path, first: FileVersion | None, parent: int | None, service: Service, load: Callable[[], Served]
) -> None:
    """Serve each new file at a path, until the process `parent` has ended."""
    reload, loaded, seen = asyncio.Event(), first, first
    if hasattr(signal, "SIGHUP"):
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, reload.set)
    while parent in (None, os.getppid()):
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(reload.wait(), POLL_SECONDS)
        version = _file_version(path)
        # A file that changed since the last poll may still be being written.
        if reload.is_set() or (version == seen and version not in (loaded, None)):
            reload.clear()
            loaded = version if await _reload(service, load) else None
        seen = version


async def _reload(service: Service, load: Callable[[], Served]) -> bool:
    """Serve the file that is now at the model's path, if it can replace the current model.

    Return False if another attempt may succeed, because the process had no file descriptors left.
    """
    current = service.served.model.artifact
    try:
        served = await asyncio.to_thread(load)
        for name in INTERFACE:
            if served.model.artifact.metadata[name] != current.metadata[name]:  # type: ignore[literal-required]
                raise UserError(f"{current.path}: {name} differs from the served model's; start another server for it")
    except Exception as error:  # requests must go on in any case
        if isinstance(error, OSError) and error.errno in EXHAUSTED:
            return False
        problem = " ".join(str(error).split()) if isinstance(error, UserError) else repr(error)
        stream, line = sys.stderr, f"error: {problem}; still serving the previous model\n"
    else:
        service.served = served
        stream, line = sys.stdout, f"now serving the new {current.path}\n"
    print(line, end="", file=stream, flush=True)  # in one call, as other workers write to the same stream
    return True


def _file_version(path: Path) -> FileVersion | None:
    """Return a value that differs between two files at the same path; None if there is no file."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino
