"""Rows on disk, for tables larger than memory; they are written once as float32, and then memory-mapped."""

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from math import prod
from typing import IO

import torch
from torch import Tensor

from project.data.batch_sampler import BLOCK_ROWS
from project.data.datamodule import Splits, Summary
from project.data.loader import Rows
from project.data.numbers import plus
from project.data.split import check_not_empty
from project.data.statistics import RunningStatistics
from project.least_squares import LeastSquares
from project.runtime.errors import UserError

BLOCK_BYTES = 2**18  # disks are fast at reading contiguous blocks of this size
# With more features, the exact fit would take longer than reading the table, so it is computed only on request.
MAX_SOLVED = 256


class MemmapWriter:
    """Write rows to temporary files under $TMPDIR, which disappear when the process ends, even if it is killed."""

    def __init__(self) -> None:
        # The files are unlinked once they are mapped, and the system frees an unlinked file with its last mapping.
        self._files: list[IO[bytes]] = [tempfile.NamedTemporaryFile(buffering=2**20) for _ in range(3)]  # noqa: SIM115
        self._parts: list[Tensor] = []
        self.count = 0

    def append(self, *parts: Tensor) -> None:
        """Write rows x (n, *in_shape), y (n, out_features) or (n,) for classes, and weights (n, 1) if there are any.

        Numbers are written as float32, classes as int64.
        """
        self._parts = [part[:0].float() if part.is_floating_point() else part[:0] for part in parts]
        self.count += len(parts[0])
        with _writing():
            for file, values, part in zip(self._files, parts, self._parts, strict=False):
                file.write(values.to(part.dtype).contiguous().numpy().data)

    def rows(self) -> Rows:
        """Return all rows, memory-mapped. The operating system keeps recently used ones in memory."""
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
    """The three splits of a table on disk. Statistics of the training rows are computed while they are written.

    Args:
        path: Path of the table, for errors.
        inputs: Number of columns of x.
        targets: Number of columns of y; 0 for classes.
        solve: Whether to compute exact least squares as well.
        offsets: Offsets of x and of y, which are added for least squares.
    """

    def __init__(
        self, path: str, inputs: int, targets: int, solve: bool, offsets: Sequence[list[float] | None] = (None, None)
    ) -> None:
        self.path, self.offsets = path, offsets
        self.writers = {split: MemmapWriter() for split in ("train", "val", "test")}
        self.x, self.y = RunningStatistics((inputs,)), RunningStatistics((targets,)) if targets else None
        self.least_squares = LeastSquares(inputs, targets) if solve and targets and inputs <= MAX_SOLVED else None

    def append(self, split: str, x: Tensor, y: Tensor, *weights: Tensor) -> None:
        """Add rows x (n, inputs), y (float64 or class indices), and weights (n, 1) if there are any, to a split."""
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
        """Return the summary of the training rows."""
        y = None if self.y is None else self.y.compute()
        return Summary(self.x.compute(), y, None if self.least_squares is None else self.least_squares.compute())
