"""A budget for the memory of requests: each reserves what it takes before it takes it."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from project.serving.request_error import RequestError, require


class MemoryBudget:
    """Memory that threads share."""

    def __init__(self, size: int, seconds: float) -> None:
        self.size, self.seconds = size, seconds
        self._free, self._changed = size, threading.Condition()

    def check(self, amount: float) -> None:
        """Raise a RequestError if so many bytes are never free."""
        problem = f"{amount / 2**20:.0f} MiB when read; send fewer rows or columns"
        require(amount <= self.size, 413, problem)

    def change(self, held: int, amount: int) -> bool:
        """Hold so many bytes instead of those that are held; return False, and change nothing, if they are not free."""
        with self._changed:
            if amount - held > self._free:
                return False
            self._free -= amount - held
            self._changed.notify_all()
            return True

    @contextmanager
    def reserve(self, amount: int) -> Iterator[None]:
        """Hold so many bytes; wait until they are free.

        Raises:
            RequestError: If they never are, or not in time.
        """
        self.check(amount)
        with self._changed:
            if not self._changed.wait_for(lambda: self._free >= amount, self.seconds):
                raise RequestError(503, "the server is busy; try again")
            self._free -= amount
        try:
            yield
        finally:
            with self._changed:
                self._free += amount
                self._changed.notify_all()
