"""Rows on disk, for tables larger than memory: written once, as the network takes them, and mapped into memory."""

import tempfile
from math import prod
from typing import IO

import torch
from torch import Tensor

from project.data.datamodule import Splits, Summary
from project.data.loader import BLOCK_ROWS, Rows
from project.data.statistics import RunningStatistics
from project.least_squares import LeastSquares
from project.runtime.errors import UserError

# Rows that lie together are read together: blocks of so many bytes are what disks are fast at.
BLOCK_BYTES = 2**18
FILLED_ROWS = 65_536
# Beyond so many features the exact answer takes longer than reading does, and is left until it is asked for.
MAX_SOLVED = 256


class MemmapWriter:
    """Collects rows in temporary files under $TMPDIR, which are gone when the process is, however it ends."""

    def __init__(self) -> None:
        # Named only until it is mapped: a file without a name is freed with its last mapping.
        self._files: list[IO[bytes]] = [tempfile.NamedTemporaryFile(buffering=2**20) for _ in range(2)]  # noqa: SIM115
        self._parts: list[Tensor] = []
        self.count = 0

    def append(self, x: Tensor, y: Tensor) -> None:
        """Write rows x (n, *in_shape) as float32, and y (n, out_features) as float32 or (n,) as int64.

        Raises:
            UserError: If the disk is full.
        """
        self._parts = [x[:0].float(), y[:0].float() if y.is_floating_point() else y[:0]]
        self.count += len(x)
        try:
            for file, values, part in zip(self._files, (x, y), self._parts, strict=True):
                file.write(values.to(part.dtype).contiguous().numpy().data)
        except OSError as error:
            raise UserError(
                f"{tempfile.gettempdir()}: {error.strerror} for the table's rows: set TMPDIR to a folder with room"
            ) from error

    def rows(self) -> Rows:
        """All rows, mapped: in memory is what was used last, as long as there is room."""
        mapped: list[Tensor] = []
        for file, part in zip(self._files, self._parts, strict=True):
            file.flush()
            shape = (self.count, *part.shape[1:])
            mapped.append(torch.from_file(file.name, shared=True, size=prod(shape), dtype=part.dtype).view(shape))
            file.close()
        x, y = mapped
        row_bytes = x[:1].nbytes + y[:1].nbytes
        return Rows(x, y, block_rows=max(BLOCK_ROWS, BLOCK_BYTES // row_bytes))


class StreamedSplits:
    """The three splits of a table in spools, and a summary of the training rows from the pass that fills them.

    Args:
        features: Columns of x.
        targets: Columns of y, (n, targets); 0 where y is classes, (n,).
        fill: Whether NaN in x stands for the mean of its column over the training rows.
    """

    def __init__(self, features: int, targets: int, fill: bool) -> None:
        self.spools = {split: MemmapWriter() for split in ("train", "val", "test")}
        self.fill = fill
        self.sums, self.counts = torch.zeros(2, features).double()
        self.x, self.y = RunningStatistics((features,)), RunningStatistics((targets,)) if targets else None
        solved = targets and features <= MAX_SOLVED and not fill
        self.metric = LeastSquares(features, targets, sync_on_compute=False) if solved else None

    def append(self, split: str, x: Tensor, y: Tensor) -> None:
        """Take rows x (n, features) and their targets, in float64 or class numbers, into a split."""
        self.spools[split].append(x, y)
        if split != "train":
            return
        if self.fill:
            self.sums += x.nansum(0)
            self.counts += (~x.isnan()).sum(0)
            return
        self.x.update(x)
        if self.y is not None:
            self.y.update(y)
        if self.metric is not None:
            self.metric.update(x.float(), y.float())

    def splits(self) -> Splits:
        """All rows, mapped.

        Raises:
            UserError: If a split has no rows.
        """
        empty = next((split for split, spool in self.spools.items() if spool.count == 0), None)
        if empty is not None:
            raise UserError(
                f"the table leaves no rows for the {empty} split: "
                "give more rows or other --data.val_fraction and --data.test_fraction"
            )
        train, val, test = (spool.rows() for spool in self.spools.values())
        if self.fill and not self.counts.all():
            number = int((self.counts == 0).nonzero()[0]) + 1
            raise UserError(f"feature {number} has no values at all: leave it out with --data.features")
        if self.fill:
            means = (self.sums / self.counts).float()
            for block in (block for split in (train, val, test) for block in split.x.split(FILLED_ROWS)):
                block.copy_(torch.where(block.isnan(), means, block))
        return Splits(train, val, test)

    def summary(self) -> Summary | None:
        """Of the training rows; None where they had gaps to fill, whose filling changes it."""
        if self.fill:
            return None
        y = None if self.y is None else self.y.compute()
        return Summary(self.x.compute(), y, None if self.metric is None else self.metric.compute())
