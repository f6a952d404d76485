"""Rows on disk, for tables larger than memory: written once as float32, then mapped into memory."""

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from math import prod
from typing import IO

import torch
from torch import Tensor

from project.data.datamodule import Splits, Summary
from project.data.loader import BLOCK_ROWS, Rows
from project.data.numbers import plus
from project.data.split import check_not_empty
from project.data.statistics import RunningStatistics
from project.least_squares import LeastSquares
from project.runtime.errors import UserError

BLOCK_BYTES = 2**18  # disks read contiguous blocks of this size fast
# With more features the exact fit takes longer than reading the table; it is then computed only on request.
MAX_SOLVED = 256


class MemmapWriter:
    """Write rows to temporary files under $TMPDIR; the files disappear when the process ends, however it ends."""

    def __init__(self) -> None:
        # The files have names only until they are mapped: an unlinked file is freed together with its last mapping.
        self._files: list[IO[bytes]] = [tempfile.NamedTemporaryFile(buffering=2**20) for _ in range(3)]  # noqa: SIM115
        self._parts: list[Tensor] = []
        self.count = 0

    def append(self, *parts: Tensor) -> None:
        """Write rows x (n, *in_shape), y (n, out_features) or (n,) for classes, and weights if they have any.

        Numbers are written as float32, classes as int64.
        """
        self._parts = [part[:0].float() if part.is_floating_point() else part[:0] for part in parts]
        self.count += len(parts[0])
        with _writing():
            for file, values, part in zip(self._files, parts, self._parts, strict=False):
                file.write(values.to(part.dtype).contiguous().numpy().data)

    def rows(self) -> Rows:
        """Return all rows, memory-mapped: the operating system keeps the most recently used ones in memory."""
        mapped: list[Tensor] = []
        for file, part in zip(self._files, self._parts, strict=False):
            with _writing():
                file.flush()
            shape = (self.count, *part.shape[1:])
            mapped.append(torch.from_file(file.name, shared=True, size=prod(shape), dtype=part.dtype).view(shape))
            file.close()
        x, y, *weights = mapped
        block_rows = max(BLOCK_ROWS, BLOCK_BYTES // (x[:1].nbytes + y[:1].nbytes))
        return Rows(x, y, block_rows=block_rows, weights=weights[0] if weights else None)


@contextmanager
def _writing() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        folder = tempfile.gettempdir()
        raise UserError(f"{folder}: {error.strerror}; set TMPDIR to a folder with room for the table") from error


class StreamedSplits:
    """The three splits of a table on disk, with statistics of the training rows computed while they are written.

    `targets` is the number of columns of y, 0 for classes. With `solve`, exact least squares are computed, too, of the
    numbers plus their `offsets`: of x, and of y.
    """

    def __init__(
        self, path: str, inputs: int, targets: int, solve: bool, offsets: Sequence[list[float] | None] = (None, None)
    ) -> None:
        self.path, self.offsets = path, offsets
        self.writers = {split: MemmapWriter() for split in ("train", "val", "test")}
        self.x, self.y = RunningStatistics((inputs,)), RunningStatistics((targets,)) if targets else None
        self.least_squares = LeastSquares(inputs, targets) if solve and targets and inputs <= MAX_SOLVED else None

    def append(self, split: str, x: Tensor, y: Tensor, *weights: Tensor) -> None:
        """Add rows x (n, inputs), y, in float64 or class numbers, and weights (n, 1) if they have any, to a split."""
        self.writers[split].append(x, y, *weights)
        if split != "train":
            return
        self.x.update(x)
        if self.y is not None:
            self.y.update(y)
        if self.least_squares is not None:
            self.least_squares.update(*map(plus, (x, y), self.offsets), *weights)

    def splits(self) -> Splits:
        """Return all rows, memory-mapped."""
        check_not_empty(self.path, [writer.count for writer in self.writers.values()])
        return Splits(*(writer.rows() for writer in self.writers.values()))

    def summary(self) -> Summary:
        """Return what is known of the training rows."""
        y = None if self.y is None else self.y.compute()
        return Summary(self.x.compute(), y, None if self.least_squares is None else self.least_squares.compute())
