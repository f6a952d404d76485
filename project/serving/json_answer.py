"""Predictions as JSON."""

import json

from project.serving.metadata import Metadata
from project.serving.predictions import Predictions


class JSONAnswer:
    """Writes the answers of one artifact: text with a place for each number, filled in one go.

    Nine significant digits say exactly which float32 a number is.

    Args:
        metadata: Of the artifact.
    """

    def __init__(self, metadata: Metadata) -> None:
        self.classes = metadata["class_names"]
        numbers = _places(self.classes or metadata["target_names"])
        self.spread = numbers
        self.rows = [numbers]
        if self.classes is not None:
            target = _name(metadata["target_names"][0])
            self.rows = [f'{{{target}: {_name(label)}, "probabilities": {numbers}}}' for label in self.classes]

    def write(self, predictions: Predictions) -> bytes:
        """One object: `predictions`, and `spread` where there is one; null of rows without a prediction."""
        values, spread, known = predictions
        which = values.argmax(1).tolist() if self.classes is not None else [0] * len(values)
        parts = ['{"predictions": [', _list([self.rows[number] for number in which], known.tolist())]
        numbers = values[known].ravel().tolist()
        if spread is not None:
            parts += ['], "spread": [', _list([self.spread] * len(values), known.tolist())]
            numbers += spread[known].ravel().tolist()
        return ("".join([*parts, "]}"]) % tuple(numbers)).encode()


def _places(names: list[str]) -> str:
    return "{" + ", ".join(f"{_name(name)}: %.9g" for name in names) + "}"


def _name(name: str) -> str:
    return json.dumps(name).replace("%", "%%")


def _list(rows: list[str], known: list[bool]) -> str:
    return ", ".join(row if there else "null" for row, there in zip(rows, known, strict=True))
