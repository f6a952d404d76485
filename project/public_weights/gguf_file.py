"""Reading of GGUF files, the format of llama.cpp.

Specification: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md.
"""

import mmap
import struct
from functools import cache
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from project.public_weights.source import Shape, Source
from project.runtime.errors import UserError

# Format characters of `struct` for the number types from 0 to 12. Type 8 is a string, 9 an array.
NUMBERS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
STRING, ARRAY = 8, 9
VERSIONS = (2, 3)
READ = ("F32", "F16", "BF16", "Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K")
PIECE_ROWS = 4_096  # number of rows that are converted to float32 at once
MAX_DIMENSIONS, MAX_TENSORS, MAX_FACTS = 4, 2**17, 2**16


class GGUF(NamedTuple):
    """The content of a GGUF file.

    Attributes:
        facts: The metadata of the file, by key.
        source: The tensors. Quantized ones are converted to float32 when they are read.
    """

    facts: dict[str, Any]
    source: Source


class _Info(NamedTuple):
    """Type, shape (of the numbers, not of the blocks) and position of a tensor in the file."""

    kind: int
    shape: Shape
    start: int
    size: int


def read_gguf(path: Path) -> GGUF:
    """Return the metadata and the memory-mapped tensors of a GGUF file.

    Raises:
        UserError: If the file is damaged, or the type of a tensor is not supported.
    """
    try:
        with path.open("rb") as file:
            data = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY))  # torch requires writable memory
        facts, infos = _Reader(data).content()
    except (ValueError, OSError, struct.error, RecursionError) as error:
        raise UserError(f"{path}: not a GGUF file, or a damaged one: {error}") from error

    def read(name: str) -> Tensor:
        return _tensor(data, infos[name])

    return GGUF(facts, Source({name: info.shape for name, info in infos.items()}, read))


class _Reader:
    """Reads the header of a file from start to end, and checks each count against the number of remaining bytes."""

    def __init__(self, data: memoryview) -> None:
        self.data, self.place = data, 0

    def content(self) -> tuple[dict[str, Any], dict[str, _Info]]:
        if bytes(self._take(4)) != b"GGUF":
            raise ValueError("it does not start with GGUF")
        if (version := self._number("I")) not in VERSIONS:
            raise ValueError(f"version {version} is not supported, only {VERSIONS}")
        # The shortest entries have 24 and 13 bytes.
        tensors, pairs = self._count(24, MAX_TENSORS), self._count(13, MAX_FACTS)
        facts = {self._string(): self._value(self._number("I")) for _ in range(pairs)}
        entries = [(self._string(), self._entry()) for _ in range(tensors)]
        alignment = facts.get("general.alignment", 32)
        if not isinstance(alignment, int) or not 0 < alignment <= 2**20 or alignment % 8:
            raise ValueError(f"invalid alignment {str(alignment)[:40]}")
        start = -(-self.place // alignment) * alignment
        infos = {name: _located(name, *entry, start, alignment, len(self.data)) for name, entry in entries}
        if len(infos) < tensors:
            raise ValueError("two tensors have the same name")
        _require_apart(infos)
        return facts, infos

    def _take(self, size: int) -> memoryview:
        if size > len(self.data) - self.place:
            raise ValueError(f"it ends within {size} bytes at {self.place}")
        self.place += size
        return self.data[self.place - size : self.place]

    def _number(self, letter: str) -> Any:
        return struct.unpack("<" + letter, self._take(struct.calcsize("<" + letter)))[0]

    def _count(self, item_bytes: int, most: int = 2**63) -> int:
        count = self._number("Q")
        if count > most or count * item_bytes > len(self.data) - self.place:
            raise ValueError(f"the count of {count} items at {self.place} is larger than the file allows")
        return count

    def _string(self) -> str:
        return str(self._take(self._count(1)), "utf-8", "replace")

    def _value(self, kind: int) -> Any:
        if kind == STRING:
            return self._string()
        if kind != ARRAY:
            if kind not in NUMBERS:
                raise ValueError(f"unknown type {kind} of a value")
            return self._number(NUMBERS[kind])
        inner = self._number("I")
        if inner in NUMBERS:
            letter = NUMBERS[inner]
            count = self._count(struct.calcsize("<" + letter))
            return np.frombuffer(self._take(count * struct.calcsize("<" + letter)), "<" + letter)
        return [self._value(inner) for _ in range(self._count(8 if inner == STRING else 12))]

    def _entry(self) -> tuple[list[int], int, int]:
        dimensions = self._number("I")
        if not 1 <= dimensions <= MAX_DIMENSIONS:
            raise ValueError(f"a tensor with {dimensions} dimensions")
        sizes = [self._number("Q") for _ in range(dimensions)]
        return sizes[::-1], self._number("I"), self._number("Q")  # the file has the last dimension first


def _located(name: str, shape: list[int], kind: int, offset: int, start: int, alignment: int, end: int) -> _Info:
    """Return the position of a tensor; raise a ValueError if it is not within the file."""
    types = {type.value: type for type in library().GGMLQuantizationType}
    if kind not in types or types[kind].name not in READ:
        known = f"type {types[kind].name if kind in types else kind}"
        raise ValueError(f"the tensor {name[:80]!r} has the {known}, not one of {', '.join(READ)}")
    block, block_bytes = library().GGML_QUANT_SIZES[types[kind]]
    count = prod(shape)
    size = count // block * block_bytes
    if not count or shape[-1] % block or offset % alignment or start + offset + size > end:
        raise ValueError(f"the tensor {name[:80]!r} of shape {tuple(shape)} is not within the file")
    return _Info(kind, tuple(shape), start + offset, size)


def _require_apart(infos: dict[str, _Info]) -> None:
    """Raise a ValueError if two tensors share bytes."""
    end = 0
    for name, info in sorted(infos.items(), key=lambda item: item[1].start):
        if info.start < end:
            raise ValueError(f"the tensor {name[:80]!r} overlaps another one")
        end = info.start + info.size


def _tensor(data: memoryview, info: _Info) -> Tensor:
    """Return a tensor as float32. A float32 tensor is a view of the memory-mapped file."""
    raw = np.frombuffer(data, np.uint8, info.size, info.start)
    if info.kind == 0:
        return torch.from_numpy(raw.view(np.float32).reshape(info.shape))
    rows, kind = raw.reshape(prod(info.shape[:-1]), -1), library().GGMLQuantizationType(info.kind)
    values = np.empty((len(rows), info.shape[-1]), np.float32)
    for start in range(0, len(rows), PIECE_ROWS):  # intermediate results take several times the memory of the rows
        piece = slice(start, start + PIECE_ROWS)
        values[piece] = library().quants.dequantize(rows[piece], kind)
    return torch.from_numpy(values.reshape(info.shape))


@cache
def library() -> Any:
    """Return the package `gguf`, which converts the tensor types.

    Raises:
        UserError: If it is not installed.
    """
    try:
        import gguf
    except ImportError as error:
        raise UserError('GGUF files need the package gguf; run pip install -e ".[text]"') from error
    return gguf
