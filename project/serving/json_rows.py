"""Rows in JSON: the numbers in a request, and the predictions in its answer."""

import json
import math
from collections import Counter
from itertools import chain
from operator import itemgetter
from typing import Any

import numpy as np
from pydantic_core import from_json

from project.serving.artifact import Array
from project.serving.metadata import Metadata
from project.serving.predictions import Mask, Numbers, fill
from project.serving.request_error import RequestError, quoted

SMALL_ROW = 50  # numbers that Python looks at faster than NumPy
FLOAT32_MAX = float(np.finfo(np.float32).max)
GIVE = 'give {"rows": [...]}, a row an object by feature name or an array'


class JSONRows:
    """Reads the rows of requests for one artifact.

    Args:
        metadata: Of the artifact.
        most: Rows a request.
    """

    def __init__(self, metadata: Metadata, most: int) -> None:
        self.metadata, self.most = metadata, most
        self.names, self.shape = metadata["feature_names"], metadata["in_shape"]
        self.known, self.window, self.free = set(self.names), metadata["window"], metadata["dynamic_length"]
        # What one object or flat array stands for: a row, or in a series a time step.
        self.item_shape = self.shape[1:] if self.window else self.shape
        self.pick = itemgetter(*self.names) if len(self.names) > 1 else lambda item: (item[self.names[0]],)

    def read(self, body: bytes) -> tuple[Array, Mask | None]:
        """Numbers of a request's rows (rows, *in_shape), and which of them have a prediction (rows,), as of `fill`.

        Raises:
            RequestError: With row and feature, of whatever is not a row of numbers within float32, or lacks one.
        """
        try:
            request = from_json(body)
        except ValueError as error:
            raise RequestError(400, f"not JSON: {error}") from None
        if type(request) is not dict or list(request) != ["rows"] or type(request["rows"]) is not list:
            raise RequestError(422, GIVE)
        rows = request["rows"]
        if len(rows) > self.most:
            raise RequestError(422, f"{len(rows)} rows: give at most {self.most} a request")
        x = self._quick(rows)
        filled = fill(self.metadata, self._slow(rows)) if x is None else (x, None)
        # Each name in the body has a colon after it: more colons than names are a name twice, or a name with a colon.
        if body.count(b":") != 1 + self._pairs(rows):
            self._find_twice(body)
        return filled

    def _quick(self, rows: list[Any]) -> Array | None:
        """As `_slow`, some ten times as fast; None of rows that are not all alike and complete."""
        if not rows:
            return None
        items = rows
        lead: tuple[int, ...] = (len(rows),)
        if self.window:
            if set(map(type, rows)) != {list} or len(steps := set(map(len, rows))) != 1:
                return None
            lead += tuple(steps)
            if lead[1] != self.window and not (self.free and lead[1]):
                return None
            items = list(chain.from_iterable(rows))
        kinds = set(map(type, items))
        if kinds == {dict}:
            if set(map(len, items)) != {len(self.names)}:
                return None
            try:
                items = list(chain.from_iterable(map(self.pick, items)))
            except KeyError:
                return None
        elif kinds == {list}:
            for size in self.item_shape if self._is_nested(items[0]) else [len(self.names)]:
                if set(map(type, items)) != {list} or set(map(len, items)) != {size}:
                    return None
                items = list(chain.from_iterable(items))
        else:
            return None
        if not set(map(type, items)) <= {float, int}:
            return None
        try:
            x = np.array(items, np.float64)
        except OverflowError:  # an integer of hundreds of digits
            return None
        if len(items) < SMALL_ROW:
            within = all([-FLOAT32_MAX <= item <= FLOAT32_MAX for item in items])  # noqa: C419 - a list is faster
        else:
            within = bool((np.abs(x) <= FLOAT32_MAX).all())
        return x.astype(np.float32).reshape(*lead, *self.item_shape) if within else None

    def _slow(self, rows: list[Any]) -> Numbers:
        """The numbers of rows, one by one."""
        read = [self._row(row, number) for number, row in enumerate(rows, start=1)]
        if not self.window:
            return np.array(read, np.float64).reshape(len(rows), *self.shape)
        steps = len(read[0]) if read else self.window
        for number, row in enumerate(read, start=1):
            if len(row) != steps:
                raise RequestError(422, f"{len(row)} time steps: the first row has {steps}: give all as many", number)
        return np.array(read, np.float64).reshape(len(rows), steps, *self.item_shape)

    def _row(self, row: Any, number: int) -> list[Any]:
        if not self.window:
            return self._item(row, number, "")
        wanted = "1 or more" if self.free else str(self.window)
        if type(row) is not list:
            raise RequestError(422, f"{quoted(row)}: give an array of {wanted} time steps", number)
        if len(row) != self.window and not (self.free and row):
            raise RequestError(422, f"{len(row)} time steps: give {wanted}", number)
        return [self._item(item, number, f"time step {step}: ") for step, item in enumerate(row, start=1)]

    def _item(self, item: Any, number: int, place: str) -> list[float]:
        """The numbers of an object or an array, flat or nested."""
        if type(item) is dict:
            unknown = next((name for name in item if name not in self.known), None)
            if unknown is not None:
                raise RequestError(422, f"{place}there is no such feature: leave it out", number, unknown)
            values = [item.get(name) for name in self.names]
        elif type(item) is list:
            shape = self.item_shape if len(item) != len(self.names) or self._is_nested(item) else [len(self.names)]
            values = self._flat(item, shape, number, place)
        else:
            count = len(self.names)
            raise RequestError(422, f"{place}{quoted(item)}: give an object, or an array of {count} numbers", number)
        return [self._number(value, number, name, place) for value, name in zip(values, self.names, strict=True)]

    def _is_nested(self, item: list[Any]) -> bool:
        return len(self.item_shape) > 1 and bool(item) and type(item[0]) is list

    def _flat(self, item: Any, shape: list[int], number: int, place: str) -> list[Any]:
        if type(item) is not list or len(item) != shape[0]:
            found = f"an array of {len(item)}" if type(item) is list else quoted(item)
            wanted = " x ".join(map(str, self.item_shape))
            wanted += f" or {len(self.names)}" if len(self.item_shape) > 1 else ""
            raise RequestError(422, f"{place}{found}: give an array of {wanted} numbers", number)
        if len(shape) == 1:
            return item
        return [value for part in item for value in self._flat(part, shape[1:], number, place)]

    def _number(self, value: Any, number: int, name: str, place: str) -> float:
        if value is None:
            return math.nan
        if type(value) not in (int, float):
            raise RequestError(422, f"{place}{quoted(value)} is not a number", number, name)
        if value != value or abs(value) == math.inf:
            raise RequestError(422, f"{place}{value} is not a finite number within float32", number, name)
        if abs(value) > FLOAT32_MAX:
            raise RequestError(422, f"{place}{quoted(value)} is too large for float32", number, name)
        return float(value)

    def _pairs(self, rows: list[Any]) -> int:
        items = chain.from_iterable(rows) if self.window else rows
        return sum(len(item) for item in items if type(item) is dict)

    def _find_twice(self, body: bytes) -> None:
        """Refuse a name that comes twice in an object, of which `from_json` keeps the last."""

        def look(pairs: list[tuple[str, Any]]) -> Any:
            found = dict(pairs)
            if len(found) == len(pairs):
                return found
            counts = Counter(name for name, _ in pairs)
            return _Twice(next(name for name in counts if counts[name] > 1))

        request = json.loads(body, object_pairs_hook=look)
        if type(request) is _Twice:
            raise RequestError(422, f'the name "rows" comes twice: {GIVE}')
        for number, row in enumerate(request["rows"], start=1):
            for item in row if self.window else [row]:
                if type(item) is _Twice:
                    raise RequestError(422, "comes twice", number, item)


class _Twice(str):
    """A name that an object has twice, in the place of the object."""
