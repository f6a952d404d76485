"""A budget for the memory of requests: each reserves its memory before it allocates it."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from project.serving.request_error import require


class MemoryBudget:
    """Memory that threads share.

    Args:
        size: Bytes in all.
        seconds: How long a reservation waits for others to end.
    """

    def __init__(self, size: int, seconds: float) -> None:
        self.size, self.seconds = size, seconds
        self._free, self._changed = size, threading.Condition()

    def check(self, amount: float) -> None:
        """Raise a RequestError if an amount is larger than the budget."""
        problem = f"{amount / 2**20:.0f} MiB when read; send fewer rows or columns"
        require(amount <= self.size, 413, problem)

    def change(self, held: int, amount: int) -> bool:
        """Change a reservation from `held` to `amount` bytes; return False, and keep it, if too few bytes are free."""
        with self._changed:
            if amount - held > self._free:
                return False
            self._free -= amount - held
            self._changed.notify_all()
            return True

    @contextmanager
    def reserve(self, amount: int) -> Iterator[None]:
        """Reserve bytes for the block; wait until they are free.

        Raises:
            RequestError: If the amount is larger than the budget, or not free in time.
        """
        self.check(amount)
        with self._changed:
            is_free = self._changed.wait_for(lambda: self._free >= amount, self.seconds)
            require(is_free, 503, "the server is busy; try again")
            self._free -= amount
        try:
            yield
        finally:
            with self._changed:
                self._free += amount
                self._changed.notify_all()
