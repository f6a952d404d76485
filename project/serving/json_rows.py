"""Rows of a JSON request as numbers."""

import json
import math
import sys
from collections import Counter
from itertools import chain
from operator import itemgetter
from typing import TYPE_CHECKING, Any

import numpy as np

from project.serving.artifact import Array, max_steps
from project.serving.inputs import FLOAT32_MAX, INPUT_MEMORY, Mask, Numbers, checked_number, fill
from project.serving.metadata import Metadata, schema_of
from project.serving.request_error import RequestError, parse_json, quoted, require

if TYPE_CHECKING:
    from project.schema import Schema

SMALL_ROW = 50  # Python checks fewer numbers than this faster than NumPy
EXPECTED = 'expected {"rows": [...]}, each row an object by feature name or an array'


# Measured bytes of memory: for each byte of the body, without and with letters outside ASCII; for each value; and, in
# addition, for each object or array.
ASCII_MEMORY, UNICODE_MEMORY, VALUE_MEMORY, ITEM_MEMORY = 2, 6, 70, 200


def json_memory(body: bytearray, metadata: Metadata) -> tuple[int, int]:
    """Return upper limits on the valid rows of a body and on the memory that reading it takes, without reading it."""
    objects, commas, numbers = body.count(b"{"), body.count(b","), len(metadata["feature_names"])
    items = objects + body.count(b"[")
    per_byte = ASCII_MEMORY if body.isascii() and b"\\" not in body else UNICODE_MEMORY
    memory = per_byte * len(body) + VALUE_MEMORY * (items + commas + body.count(b":")) + ITEM_MEMORY * items
    # An array holds all numbers of a row or of a time step, while an object may lack them.
    return objects + commas // numbers + 1, memory + INPUT_MEMORY * math.prod(metadata["in_shape"]) * objects


class JSONRows:
    """Reads the rows of requests to one model; decoding an image may take `image_memory` bytes."""

    def __init__(self, metadata: Metadata, max_rows: int, image_memory: int = sys.maxsize) -> None:
        self.metadata, self.max_rows, self.image_memory = metadata, max_rows, image_memory
        self.names, self.shape, self.window = metadata["feature_names"], metadata["in_shape"], metadata["window"]
        self.known_names, self.dynamic_length = set(self.names), metadata["dynamic_length"]
        self.max_steps = max_steps(metadata)
        # Shape of one object or array of numbers: a row, or a time step of a series.
        self.item_shape = self.shape[1:] if self.window else self.shape
        schema = schema_of(metadata)
        self.schema = None if schema is None or schema.is_plain else schema
        self.get_values = itemgetter(*self.names) if len(self.names) > 1 else lambda item: (item[self.names[0]],)

    def read(self, body: bytearray) -> tuple[Array, Mask | None]:
        """Return a request's rows (rows, *in_shape), and which of them are complete (rows,), as `fill` does.

        Raises:
            RequestError: With row and feature of a value that is not a float32 number, or that is missing if training
                accepted no missing value.
        """
        request = parse_json(body)
        require(type(request) is dict and list(request) == ["rows"] and type(request["rows"]) is list, 422, EXPECTED)
        rows = request["rows"]
        require(len(rows) <= self.max_rows, 422, f"{len(rows)} rows; send at most {self.max_rows} per request")
        if self.schema is not None:
            filled = self._read_fields(rows, self.schema)
        else:
            x = self._fast_path(rows)
            filled = fill(self.metadata, self._slow_path(rows)) if x is None else (x, None)
        # A colon follows each name, so more colons than names mean a repeated name, or a colon within a text.
        items = chain.from_iterable(rows) if self.window else rows
        if body.count(b":") != 1 + sum(len(item) for item in items if type(item) is dict):
            self._refuse_repeated_names(body)
        return filled

    def _read_fields(self, rows: list[Any], schema: "Schema") -> tuple[Array, Mask | None]:
        """Return rows with features of several kinds as numbers."""
        from project.serving.json_fields import table_of
        from project.serving.table_rows import numbers

        x, complete = fill(self.metadata, numbers(table_of(rows, schema, self.image_memory), self.metadata))
        return x.reshape(len(x), *self.shape), complete

    def _fast_path(self, rows: list[Any]) -> Array | None:
        """Same as `_slow_path`, about ten times as fast; None unless all rows are complete and have the same form."""
        if not rows:
            return None
        items = rows
        lead: tuple[int, ...] = (len(rows),)
        if self.window:
            if set(map(type, rows)) != {list} or len(steps := set(map(len, rows))) != 1:
                return None
            lead += tuple(steps)
            if not self._is_length(lead[1]):
                return None
            items = list(chain.from_iterable(rows))
        kinds = set(map(type, items))
        if kinds == {dict}:
            if set(map(len, items)) != {len(self.names)}:
                return None
            try:
                items = list(chain.from_iterable(map(self.get_values, items)))
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

    def _slow_path(self, rows: list[Any]) -> Numbers:
        """Return rows as numbers, checked one by one; NaN where a value is missing."""
        numbers = [self._row(row, number) for number, row in enumerate(rows, start=1)]
        if not self.window:
            return np.array(numbers, np.float64).reshape(len(rows), *self.shape)
        steps = len(numbers[0]) if numbers else self.window
        for number, row in enumerate(numbers, start=1):
            problem = f"expected {steps} time steps, as in the first row, got {len(row)}"
            require(len(row) == steps, 422, problem, number)
        return np.array(numbers, np.float64).reshape(len(rows), steps, *self.item_shape)

    def _row(self, row: Any, number: int) -> list[Any]:
        if not self.window:
            return self._item(row, number, "")
        length = f"1 to {self.max_steps}" if self.dynamic_length else self.window
        problem = f"expected an array of {length} time steps, got {quoted(row)}"
        require(type(row) is list and self._is_length(len(row)), 422, problem, number)
        return [self._item(item, number, f"time step {step}: ") for step, item in enumerate(row, start=1)]

    def _is_length(self, steps: int) -> bool:
        return steps == self.window or (self.dynamic_length and 0 < steps <= self.max_steps)

    def _item(self, item: Any, number: int, place: str) -> list[float]:
        """Return the numbers of an object or an array, flat or nested."""
        if type(item) is dict:
            unknown = next((name for name in item if name not in self.known_names), None)
            require(unknown is None, 422, f"{place}unknown feature; remove it", number, unknown)
            values = [item.get(name) for name in self.names]
        else:
            is_flat = type(item) is list and len(item) == len(self.names) and not self._is_nested(item)
            values = self._flattened(item, [len(self.names)] if is_flat else self.item_shape, number, place)
        return [checked_number(value, number, name, place) for value, name in zip(values, self.names, strict=True)]

    def _is_nested(self, item: list[Any]) -> bool:
        return len(self.item_shape) > 1 and bool(item) and type(item[0]) is list

    def _flattened(self, item: Any, shape: list[int], number: int, place: str) -> list[Any]:
        if type(item) is not list or len(item) != shape[0]:
            sizes = " x ".join(map(str, self.item_shape))
            sizes += f" or {len(self.names)}" if len(self.item_shape) > 1 else ""
            expected = f"expected an object or an array of {sizes} numbers"
            raise RequestError(422, f"{place}{expected}, got {quoted(item)}", number)
        if len(shape) == 1:
            return item
        return [value for part in item for value in self._flattened(part, shape[1:], number, place)]

    def _refuse_repeated_names(self, body: bytearray) -> None:
        """Raise a RequestError if an object repeats a name, of which `from_json` keeps the last value."""

        def check(pairs: list[tuple[str, Any]]) -> Any:
            found = dict(pairs)
            if len(found) == len(pairs):
                return found
            counts = Counter(name for name, _ in pairs)
            return _RepeatedName(next(name for name in counts if counts[name] > 1))

        request = json.loads(body, object_pairs_hook=check)
        require(type(request) is not _RepeatedName, 422, f'the name "rows" is repeated; {EXPECTED}')
        for number, row in enumerate(request["rows"], start=1):
            for item in row if self.window else [row]:
                require(type(item) is not _RepeatedName, 422, "the name is repeated", number, item)


class _RepeatedName(str):
    """Stands for an object that repeats this name."""
