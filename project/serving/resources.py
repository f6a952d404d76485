"""Files and sockets that a process may have open at the same time."""

import asyncio
import errno
import os
import sys
import time
from typing import Any

from project.serving.connection import Clients

OWN_FILES = 64  # files that a process has open besides its connections
EXHAUSTED = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
MESSAGE_SECONDS, DROP_SECONDS = 60.0, 0.5


def open_files(connections: int) -> int:
    """Raise the limit on open files for a number of connections, and return how many the limit allows."""
    if os.name != "posix":
        return connections
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < connections + OWN_FILES:
        soft = connections + OWN_FILES if hard == resource.RLIM_INFINITY else min(connections + OWN_FILES, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        return min(connections, max(soft - OWN_FILES, 1))
    return connections


class ResourceErrors:
    """Exception handler of an event loop that closes idle connections if another one cannot be accepted.

    asyncio calls it for each of thousands of attempts, and tries again after a second; one line is printed per minute.

    Attributes:
        is_stopping: Whether the listening socket is closed; asyncio may still try.
    """

    def __init__(self, clients: Clients) -> None:
        self.clients, self.is_stopping = clients, False
        self._printed = self._dropped = -MESSAGE_SECONDS

    def __call__(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """Handle an exception."""
        error, now = context.get("exception"), time.monotonic()
        if self.is_stopping and isinstance(error, ValueError):
            return
        if not isinstance(error, OSError) or error.errno not in EXHAUSTED:
            loop.default_exception_handler(context)
            return
        if now - self._dropped > DROP_SECONDS:
            self._dropped = now
            self.clients.drop_oldest(len(self.clients.waiting) // 2 + 1)  # many more wait in the socket's queue
        if now - self._printed > MESSAGE_SECONDS:
            self._printed = now
            print(f"error: cannot accept a connection: {error.strerror}; closing the oldest idle ones", file=sys.stderr)
