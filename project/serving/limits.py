"""Limits on requests and on their clients."""

from typing import NamedTuple

from project.runtime.ranges import PositiveFloat, PositiveInt


class Limits(NamedTuple):
    """Limits on requests and on their clients, for each process."""

    bytes: PositiveInt = 2**24  # of a request's body
    rows: PositiveInt = 100_000  # per request
    tokens: PositiveInt = 4_096  # of a text that a language model writes
    seconds: PositiveFloat = 30.0  # to receive a request, to answer it, and for the client to take the answer
    requests: PositiveInt = 100  # answered at the same time
    memory: PositiveInt = 2**27  # bytes that answering all of them may take
    connections: PositiveInt = 500  # open at the same time

    @property
    def held_bytes(self) -> int:
        """Limit on the bytes of all bodies that are not answered yet, and on those of all answers not sent yet."""
        return max(self.bytes, self.memory // 4)


LIMITS = Limits()  # the defaults
