"""Limits on requests."""

from typing import NamedTuple

from project.runtime.ranges import PositiveFloat, PositiveInt


class Limits(NamedTuple):
    """Limits on requests.

    Attributes:
        bytes: Size of a request's body.
        rows: Rows per request.
        seconds: Time to receive a request, and again to answer it.
        requests: Requests that each process answers at the same time.
    """

    bytes: PositiveInt
    rows: PositiveInt
    seconds: PositiveFloat
    requests: PositiveInt
