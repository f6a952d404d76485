"""Predictions as JSON."""

import json
import math

from project.runtime.decision import decide
from project.serving.artifact import Array
from project.serving.inputs import Mask, Numbers
from project.serving.metadata import Metadata
from project.serving.predictions import Predictions


class JSONAnswer:
    """Writes the predictions of one model as JSON: all numbers are inserted into a template at once, which is fast.

    Nine significant digits identify a float32 number exactly, and seventeen a float64 one.
    """

    def __init__(self, metadata: Metadata) -> None:
        self.classes, self.threshold = metadata["class_names"], metadata.get("threshold")
        digits = 9 if metadata.get("target_offsets") is None else 17
        numbers = _template(self.classes or metadata["target_names"], digits)
        self.spread = numbers
        self.rows = [numbers]
        if self.classes is not None:
            target = _escaped(metadata["target_names"][0])
            self.rows = [f'{{{target}: {_escaped(label)}, "probabilities": {numbers}}}' for label in self.classes]

    def write(self, predictions: Predictions) -> bytes:
        """Write one object with `predictions`, and `spread` if there is one; null for rows without a prediction."""
        values, spread, complete = predictions
        classes = [0] * len(values) if self.classes is None else decide(values, self.threshold).tolist()
        rows, spreads = [self.rows[number] for number in classes], [self.spread] * len(values)
        numbers = _numbers(values, spread)
        if complete is not None or not all(map(math.isfinite, numbers)):
            valid = predictions.valid
            numbers = _numbers(values[valid], None if spread is None else spread[valid])
            rows, spreads = _with_nulls(rows, valid), _with_nulls(spreads, valid)
        text = f'{{"predictions": [{", ".join(rows)}]'
        if spread is not None:
            text += f', "spread": [{", ".join(spreads)}]'
        return (text % tuple(numbers) + "}").encode()


def _numbers(values: Array | Numbers, spread: Array | None) -> list[float]:
    numbers: list[float] = values.ravel().tolist()
    return numbers if spread is None else numbers + spread.ravel().tolist()


def _with_nulls(rows: list[str], valid: Mask) -> list[str]:
    return [row if has_prediction else "null" for row, has_prediction in zip(rows, valid.tolist(), strict=True)]


def _template(names: list[str], digits: int) -> str:
    return "{" + ", ".join(f"{_escaped(name)}: %.{digits}g" for name in names) + "}"


def _escaped(name: str) -> str:
    return json.dumps(name).replace("%", "%%")
