"""What a request may ask for."""

from typing import NamedTuple


class Limits(NamedTuple):
    """Of a request.

    Attributes:
        bytes: Of its body.
        rows: To predict.
        seconds: To receive it, and again to answer it.
        requests: That are answered at the same time, by each process.
    """

    bytes: int
    rows: int
    seconds: float
    requests: int
