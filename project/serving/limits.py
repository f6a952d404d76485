"""Limits on requests."""

from typing import NamedTuple

from project.runtime.ranges import PositiveFloat, PositiveInt


class Limits(NamedTuple):
    """Limits on requests."""

    bytes: PositiveInt  # of a request's body
    rows: PositiveInt  # per request
    seconds: PositiveFloat  # to receive a request, and again to answer it
    requests: PositiveInt  # that each process answers at the same time
