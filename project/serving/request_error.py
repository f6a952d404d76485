"""Errors in a request, sent to the client as one JSON object."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from pydantic_core import from_json

MAX_LENGTH = 500
MAX_QUOTED = 50


class RequestError(Exception):
    """A request that cannot be answered, with its HTTP status.

    `row`, counted from 1, and `field`, a feature or a column, are what is invalid. `detail` is the whole message.
    """

    def __init__(self, status: int, problem: str, row: int | None = None, field: str | None = None) -> None:
        field = None if field is None else field[:MAX_LENGTH]  # first, as a name may have megabytes
        place = [f"row {row}"] * (row is not None) + [f"feature {field!r}"] * (field is not None)
        detail = f"{', '.join(place)}: {problem}" if place else problem
        self.status, self.problem, self.row, self.field = status, problem, row, field
        self.detail = detail if len(detail) <= MAX_LENGTH else detail[:MAX_LENGTH] + " …"
        super().__init__(self.detail)

    @property
    def body(self) -> bytes:
        """Body of the HTTP response."""
        content = {"detail": self.detail, "row": self.row, "field": self.field}
        return json.dumps({name: value for name, value in content.items() if value is not None}).encode()


def require(condition: bool, status: int, problem: str, row: int | None = None, field: str | None = None) -> None:
    """Raise a RequestError unless a condition holds."""
    if not condition:
        raise RequestError(status, problem, row, field)


@contextmanager
def request_errors(
    status: int, kind: type[Exception], prefix: str = "", row: int | None = None, field: str | None = None
) -> Iterator[None]:
    """Turn exceptions of a type into RequestErrors with the same message, after `prefix`."""
    try:
        yield
    except kind as error:
        raise RequestError(status, f"{prefix}{error}", row, field) from None


def parse_json(body: bytes | bytearray, allow_inf_nan: bool = True) -> Any:
    """Return the value in a JSON body; raise a RequestError if it is not JSON."""
    with request_errors(400, ValueError, "not JSON: "):
        return from_json(body, allow_inf_nan=allow_inf_nan)


def quoted(value: object) -> str:
    """Return a short form of a JSON value for a message."""
    if isinstance(value, list):
        return f"an array of {len(value)}"
    if isinstance(value, dict):
        return "an object" if value else "an empty object"
    text = json.dumps(value[:MAX_QUOTED] if isinstance(value, str) else value)
    return text if len(text) <= MAX_QUOTED else text[:MAX_QUOTED] + " …"
