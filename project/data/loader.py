"""Batches of rows at the speed of memory, through torch's own DataLoader.

A stock `DataLoader(TensorDataset)` picks rows one by one and collates them again. Here the sampler yields a whole batch
of indices at once, so that a batch is one `index_select`, and the rest of the machinery (worker processes, pinned
memory, Lightning's `set_epoch`) stays as it is.
"""

from collections.abc import Iterator
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, DistributedSampler

from project.runtime.errors import UserError
from project.runtime.signals import silence_other_threads

Batch = tuple[Tensor, Tensor] | tuple[Tensor, Tensor, Tensor]  # inputs, targets, and weights where rows have any

# Up to so many rows an epoch's order is one random permutation. Beyond it, blocks of neighbouring rows come in random
# order, and rows are permuted within a buffer of blocks: what is gathered lies closer together, and the order need not
# be held in memory. A buffer's blocks are from all over the data: rows that are sorted by their target get mixed.
PERMUTED_ROWS = 2**18
BLOCK_ROWS = 64
BUFFER_BLOCKS = 1_024
PIECE_BYTES = 2**21


class Rows(Dataset["Batch | Batches"]):
    """Inputs and targets, indexed by a batch of rows at once.

    Args:
        x: Inputs, shape (rows, *in_shape).
        y: Targets, shape (rows, out_features), or (rows,) for classes.
        batch_size: Where given, an item is `Batches` of at most so many rows each.
        block_rows: Neighbours that stay together in the first level of a shuffle.
        weights: Where given, a batch has them as a third part: shape (rows, members of an ensemble).
    """

    def __init__(
        self,
        x: Tensor,
        y: Tensor,
        batch_size: int | None = None,
        block_rows: int = BLOCK_ROWS,
        weights: Tensor | None = None,
    ) -> None:
        if len(x) != len(y):
            raise ValueError(f"x has {len(x)} rows and y has {len(y)}")
        self.x, self.y, self.batch_size, self.block_rows, self.weights = x, y, batch_size, block_rows, weights

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, index: Tensor | slice) -> "Batch | Batches":
        if isinstance(index, int):  # Lightning has put a sampler of single rows in the place of batches
            raise UserError("--trainer.overfit_batches would train on single rows: use --trainer.limit_train_batches")
        return self.gather(index) if self.batch_size is None else Batches(self, index, self.batch_size)

    def gather(self, index: Tensor | slice) -> Batch:
        """The rows of an index."""
        if isinstance(index, slice):  # views: neighbouring rows need no copy
            x, y, weights = self.x[index], self.y[index], None if self.weights is None else self.weights[index]
        else:
            index = index.to(self.x.device)
            x, y = self.x.index_select(0, index), self.y.index_select(0, index)
            weights = None if self.weights is None else self.weights.index_select(0, index)
        return (x, y) if weights is None else (x, y, weights)


class Batches:
    """Several batches in one item of a loader, gathered on the way.

    Args:
        rows: What the index is of.
        index: Row numbers, shape (n,), or a slice.
        batch_size: Rows a batch.
        device: Where batches are moved to; as `rows` unless given.
    """

    def __init__(self, rows: Rows, index: Tensor | slice, batch_size: int, device: torch.device | None = None) -> None:
        self.rows, self.index, self.batch_size, self.device = rows, index, batch_size, device

    @property
    def count(self) -> int:
        """How many batches there are."""
        rows = self.index.stop - self.index.start if isinstance(self.index, slice) else len(self.index)
        return -(-rows // self.batch_size)

    @property
    def gathered(self) -> bool:
        """Whether batches are copies of rows, and not views of them."""
        return not isinstance(self.index, slice)

    def __iter__(self) -> Iterator[Batch]:
        for piece in self.pieces():
            yield from zip(*(part.split(self.batch_size) for part in piece), strict=True)

    def pieces(self) -> Iterator[Batch]:
        """The same rows, a whole number of batches at a time."""
        if isinstance(self.index, slice):
            pieces = iter([self.index])
        else:  # neither batch by batch, which costs a call each, nor all at once, which would not stay in the cache
            row_bytes = sum(values[:1].nbytes for values in (self.rows.x, self.rows.y))
            batches = max(1, PIECE_BYTES // (row_bytes * self.batch_size))
            pieces = iter(self.index.split(batches * self.batch_size))
        for piece in pieces:
            batch = self.rows.gather(piece)
            yield batch if self.device is None else tuple(part.to(self.device) for part in batch)  # type: ignore[misc]

    def to(self, device: torch.device, **_: Any) -> "Batches":
        """The same batches on another device; Lightning calls it."""
        return Batches(self.rows, self.index, self.batch_size, device)


class BatchSampler(DistributedSampler[Tensor | slice]):
    """Yields one batch of row indices at a time: this process's share of each global batch.

    It is a `DistributedSampler` so that Lightning leaves it in place and calls `set_epoch`. The order of rows depends
    on (seed, epoch) alone, never on the number of processes: with W processes and batch size B each step takes the same
    W * B rows as one process with batch size W * B.

    Shuffled (training), shares are of equal size, so that averaged gradients weigh every row alike; the at most W - 1
    rows by which an epoch's last batch cannot be divided are left out of that epoch, and differ from epoch to epoch.
    Unshuffled (evaluation), every row comes exactly once, and no row is repeated to pad a share.

    Args:
        rows: Number of rows.
        batch_size: Rows a batch and process.
        shuffle: Whether rows come in a new random order each epoch.
        seed: Seed of the order.
        block_rows: Neighbours that stay together in the first level of the shuffle.

    Raises:
        UserError: If there are fewer rows than processes.
    """

    def __init__(
        self, rows: int, batch_size: int, *, shuffle: bool, seed: int = 0, block_rows: int = BLOCK_ROWS
    ) -> None:
        self.rows, self.batch_size, self.shuffle, self.seed = rows, batch_size, shuffle, seed
        self.block_rows = block_rows
        self.num_replicas = dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1
        self.rank = dist.get_rank() if self.num_replicas > 1 else 0
        self.epoch = 0
        self.start, self.start_epoch = 0, -1
        if rows < self.num_replicas:
            raise UserError(
                f"{rows} rows cannot be shared by {self.num_replicas} processes: lower --trainer.devices to {rows}"
            )

    def share(self, rows: int) -> slice:
        """This process's part of a global batch of so many rows."""
        if self.shuffle:
            rows -= rows % self.num_replicas
        return slice(rows * self.rank // self.num_replicas, rows * (self.rank + 1) // self.num_replicas)

    def __iter__(self) -> Iterator[Tensor | slice]:
        size = self.batch_size * self.num_replicas
        if self.shuffle:
            done = self.start if self.epoch == self.start_epoch else 0
            batches = (batch[self.share(len(batch))] for batch in _split(self._order(), size, done))
            return (batch for batch in batches if len(batch))
        starts = ((start, self.share(min(size, self.rows - start))) for start in range(0, self.rows, size))
        return (slice(start + part.start, start + part.stop) for start, part in starts if part.start < part.stop)

    def _order(self) -> Iterator[Tensor]:
        """Every row number once, piece by piece."""
        generator = torch.Generator().manual_seed(self.seed + 1_000_003 * self.epoch)
        dtype = torch.int32 if self.rows < 2**31 else torch.int64  # a permutation of the shorter is made faster
        if self.rows <= PERMUTED_ROWS:
            yield torch.randperm(self.rows, generator=generator, dtype=dtype)
            return
        size = self.block_rows
        blocks, short = -(-self.rows // size), self.rows // size
        for buffer in torch.randperm(blocks, generator=generator).to(dtype).split(BUFFER_BLOCKS):
            piece = (buffer[:, None] * size + torch.arange(size, dtype=dtype)).flatten()
            piece = piece[piece < self.rows] if (buffer == short).any() else piece
            yield piece.index_select(0, torch.randperm(len(piece), generator=generator, dtype=torch.int32))

    def rows_in(self, items: int) -> int:
        """Rows of all processes that the first items of this epoch hold."""
        return min(items * self.batch_size * self.num_replicas, self.rows)

    def start_at(self, rows: int) -> int:
        """Leave out the first rows of this epoch, and return of how many items; another epoch is whole again.

        Where an item is left out in part, the next one is its rest.
        """
        self.start, self.start_epoch = rows, self.epoch
        return rows // (self.batch_size * self.num_replicas) if rows < self.rows else len(self)

    def __len__(self) -> int:
        full, rest = divmod(self.rows, self.batch_size * self.num_replicas)
        last = self.share(rest)
        return full + (last.start < last.stop)


def _split(pieces: Iterator[Tensor], size: int, done: int) -> Iterator[Tensor]:
    """The same numbers in pieces of one size, without the first few: the first piece may be shorter, and the last."""
    rest = torch.empty(0, dtype=torch.int32)
    first, skipped = -done % size, done
    for piece in pieces:
        piece, skipped = piece[skipped:], max(0, skipped - len(piece))
        rest = torch.cat([rest, piece])
        if first and len(rest) > first:
            yield rest[:first]
            rest, first = rest[first:], 0
        if not first:
            *full, rest = rest.split(size)
            yield from full
    yield rest


def row_loader(
    rows: Rows, batch_size: int, *, shuffle: bool, seed: int = 0, num_workers: int = 0
) -> DataLoader[Batch | Batches]:
    """A standard DataLoader whose items are whole batches `(x, y)`, or several, as `rows.batch_size` says."""
    return DataLoader(
        rows,
        batch_size=None,
        sampler=BatchSampler(len(rows), batch_size, shuffle=shuffle, seed=seed, block_rows=rows.block_rows),
        num_workers=num_workers,
        persistent_workers=num_workers > 0,
        pin_memory=torch.cuda.is_available() and rows.x.device.type == "cpu",
        collate_fn=_as_it_is,
        worker_init_fn=_quiet_threads,
        generator=torch.Generator().manual_seed(seed),  # else each pass would draw from, and so shift, torch's own
    )


def _as_it_is(batch: Any) -> Any:
    return batch


def _quiet_threads(worker: int) -> None:
    silence_other_threads()  # one of them hands batches over, to a process that may end meanwhile
