"""Errors in a request, sent to the client as one JSON object."""

import json

MAX_LENGTH = 500
MAX_QUOTED = 50


class RequestError(Exception):
    """A request that cannot be answered, with its HTTP status.

    `row`, counted from 1, and `field`, a feature or column, are the invalid ones; `detail` names them and the problem.
    """

    def __init__(self, status: int, problem: str, row: int | None = None, field: str | None = None) -> None:
        field = None if field is None else field[:MAX_LENGTH]  # before anything copies it
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


def quoted(value: object) -> str:
    """Return a JSON value as a message shows it."""
    if isinstance(value, list):
        return f"an array of {len(value)}"
    if isinstance(value, dict):
        return "an object" if value else "an empty object"
    text = json.dumps(value[:MAX_QUOTED] if isinstance(value, str) else value)
    return text if len(text) <= MAX_QUOTED else text[:MAX_QUOTED] + " …"
