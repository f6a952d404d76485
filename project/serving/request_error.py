"""A request that cannot be answered, told to the client in one JSON object."""

import json
from typing import Any

MAX_LENGTH = 500


class RequestError(Exception):
    """What is wrong with a request.

    Args:
        status: HTTP status.
        detail: What is wrong, where, and the mend.
        row: Number of the row at fault, from 1.
        field: Name of the feature or column at fault.
    """

    def __init__(self, status: int, detail: str, row: int | None = None, field: str | None = None) -> None:
        place = [f"row {row}"] * (row is not None) + [f"feature {field!r}"] * (field is not None)
        detail = f"{', '.join(place)}: {detail}" if place else detail
        self.status, self.row, self.field = status, row, field
        self.detail = detail if len(detail) <= MAX_LENGTH else detail[:MAX_LENGTH] + " …"
        super().__init__(self.detail)

    @property
    def body(self) -> bytes:
        """The answer's body."""
        told: dict[str, Any] = {"detail": self.detail}
        if self.row is not None:
            told["row"] = self.row
        if self.field is not None:
            told["field"] = self.field[:MAX_LENGTH]
        return json.dumps(told).encode()


def quoted(value: object) -> str:
    """A value of a request as a message shows it."""
    text = json.dumps(value) if not isinstance(value, dict | list) else ("an object" if value else "an empty object")
    text = "an array" if isinstance(value, list) else text
    return text if len(text) <= 50 else text[:50] + " …"
