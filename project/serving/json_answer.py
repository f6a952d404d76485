"""Predictions as JSON."""

import json
import math

from project.serving.artifact import Array
from project.serving.metadata import Metadata
from project.serving.predictions import Mask, Predictions


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
        values, spread, whole = predictions
        classes = [0] * len(values) if self.classes is None else values.argmax(axis=1).tolist()
        rows, spreads = [self.rows[number] for number in classes], [self.spread] * len(values)
        numbers = _numbers(values, spread)
        if whole is not None or not all(map(math.isfinite, numbers)):
            known = predictions.known
            numbers = _numbers(values[known], None if spread is None else spread[known])
            rows, spreads = _blanked(rows, known), _blanked(spreads, known)
        text = f'{{"predictions": [{", ".join(rows)}]'
        if spread is not None:
            text += f', "spread": [{", ".join(spreads)}]'
        return (text % tuple(numbers) + "}").encode()


def _numbers(values: Array, spread: Array | None) -> list[float]:
    numbers: list[float] = values.ravel().tolist()
    return numbers if spread is None else numbers + spread.ravel().tolist()


def _blanked(rows: list[str], known: Mask) -> list[str]:
    return [row if there else "null" for row, there in zip(rows, known.tolist(), strict=True)]


def _places(names: list[str]) -> str:
    return "{" + ", ".join(f"{_name(name)}: %.9g" for name in names) + "}"


def _name(name: str) -> str:
    return json.dumps(name).replace("%", "%%")
