"""Errors in a request, sent to the client as one JSON object."""

import json
from typing import Any

MAX_LENGTH = 500
MAX_QUOTED = 50


class RequestError(Exception):
    """A request that cannot be answered.

    Args:
        status: HTTP status.
        problem: What is wrong, and how to fix it.
        row: Number of the invalid row, from 1.
        field: Name of the invalid feature or column.

    Attributes:
        detail: The problem, after the row and the feature.
    """

    def __init__(self, status: int, problem: str, row: int | None = None, field: str | None = None) -> None:
        place = [f"row {row}"] * (row is not None) + [f"feature {field!r}"] * (field is not None)
        detail = f"{', '.join(place)}: {problem}" if place else problem
        self.status, self.problem, self.row, self.field = status, problem, row, field
        self.detail = detail if len(detail) <= MAX_LENGTH else detail[:MAX_LENGTH] + " …"
        super().__init__(self.detail)

    @property
    def body(self) -> bytes:
        """Body of the HTTP response."""
        content: dict[str, Any] = {"detail": self.detail}
        if self.row is not None:
            content["row"] = self.row
        if self.field is not None:
            content["field"] = self.field[:MAX_LENGTH]
        return json.dumps(content).encode()


def quoted(value: object) -> str:
    """Return a JSON value as a message shows it."""
    if isinstance(value, list):
        return f"an array of {len(value)}"
    if isinstance(value, dict):
        return "an object" if value else "an empty object"
    text = json.dumps(value)
    return text if len(text) <= MAX_QUOTED else text[:MAX_QUOTED] + " …"
