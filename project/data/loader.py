"""Fast batches through torch's own DataLoader.

`DataLoader(TensorDataset)` picks rows one by one and collates them. Here the sampler yields the indices of a whole
batch, so that a batch is one `index_select`. Worker processes, pinned memory and Lightning's `set_epoch` work as usual.
"""

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from copy import copy
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, DistributedSampler, get_worker_info

from project.data.workers import WORKER_SECONDS, shared, start_worker
from project.runtime.errors import UserError

Batch = tuple[Tensor, Tensor] | tuple[Tensor, Tensor, Tensor]  # inputs, targets, and weights if the rows have any

# Up to this number of rows an epoch's order is one random permutation. With more rows, blocks of neighbouring rows come
# in random order, and rows are permuted within a buffer of blocks: reads are more local, and the order takes no memory.
# The blocks of a buffer come from all over the data, so that rows sorted by their target get mixed.
PERMUTED_ROWS = 2**18
BLOCK_ROWS = 64
BUFFER_BLOCKS = 1_024
# A piece of batches that is gathered at once fits into a processor's cache; a GPU wants few large kernels.
PIECE_BYTES, GPU_PIECE_BYTES = 2**21, 2**26


class Rows(Dataset["Batch | Batches"]):
    """Inputs and targets, indexed by the row numbers of a whole batch.

    Args:
        x: Inputs, shape (rows, *in_shape).
        y: Targets, shape (rows, out_features), or (rows,) for classes.
        batch_size: If set, an item is `Batches` of at most this many rows each.
        block_rows: Number of neighbouring rows in a block, the unit of the first level of the shuffle.
        weights: Optional third part of a batch: one for each row, shape (rows, 1), or (rows, ensemble members).
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

    @property
    def device(self) -> torch.device:
        """Where the rows are."""
        return self.x.device

    @property
    def nbytes(self) -> int:
        """Size of the rows in memory."""
        return self.x.nbytes + self.y.nbytes

    def first(self, count: int) -> Tensor:
        """Return x of the first rows, (count, *in_shape)."""
        return self.x[:count]

    def to(self, device: torch.device) -> "Rows":
        """Return the same rows on another device."""
        weights = None if self.weights is None else self.weights.to(device)
        return Rows(self.x.to(device), self.y.to(device), self.batch_size, self.block_rows, weights)

    def grouped(self, batch_size: int) -> "Rows":
        """Return the same rows, whose items are `Batches`."""
        rows = copy(self)
        rows.batch_size = batch_size
        return rows

    def select(self, index: Tensor) -> "Rows":
        """Return the rows at an index."""
        return Rows(*self.gather(index)[:2], weights=None if self.weights is None else self.weights[index])

    def weighted(self, weights: Tensor) -> "Rows":
        """Return the same rows, whose weights are multiplied by others, (rows, 1) or (rows, ensemble members)."""
        rows = copy(self)
        rows.weights = weights if self.weights is None else self.weights * weights
        return rows

    def sampler(self, batch_size: int, shuffle: bool, **options: Any) -> "BatchSampler":
        """Return what chooses the rows of each batch."""
        return BatchSampler(len(self), batch_size, shuffle=shuffle, block_rows=self.block_rows, **options)

    def __getitem__(self, index: Tensor | slice) -> "Batch | Batches":
        if isinstance(index, int):  # with overfit_batches Lightning replaces the sampler by one of single rows
            raise UserError("--trainer.overfit_batches: would train on single rows; use --trainer.limit_train_batches")
        return self.gather(index) if self.batch_size is None else Batches(self, index, self.batch_size)

    def gather(self, index: Tensor | slice) -> Batch:
        """Return the batch of the rows at an index."""
        parts = (self.x, self.y) if self.weights is None else (self.x, self.y, self.weights)
        if isinstance(index, slice):  # views, without a copy
            views = tuple(part[index] for part in parts)
            if get_worker_info() is not None:  # it would send all of the memory that they are part of
                views = tuple(view.clone() for view in views)
            return views  # type: ignore[return-value]
        index = to_device(index, self.x.device)
        return tuple(part.index_select(0, index) for part in parts)  # type: ignore[return-value]


class Batches:
    """Several batches as one item of a loader, with the rows at `index` (n,), or a slice, gathered during iteration."""

    def __init__(self, rows: Rows, index: Tensor | slice, batch_size: int, device: torch.device | None = None) -> None:
        self.rows, self.index, self.batch_size, self.device = rows, index, batch_size, device

    @property
    def count(self) -> int:
        """Number of batches."""
        rows = self.index.stop - self.index.start if isinstance(self.index, slice) else len(self.index)
        return -(-rows // self.batch_size)

    def __iter__(self) -> Iterator[Batch]:
        for piece in self.pieces():
            yield from zip(*(part.split(self.batch_size) for part in piece), strict=True)

    def pieces(self) -> Iterator[Batch]:
        """Yield the same rows in larger pieces, each a whole number of batches."""
        pieces: Iterable[Tensor | slice] = [self.index]
        if not isinstance(self.index, slice):  # a gather per batch has overhead, and one of all overflows the cache
            batch_bytes = self.rows.nbytes // len(self.rows) * self.batch_size
            size = PIECE_BYTES if self.rows.device.type == "cpu" else GPU_PIECE_BYTES
            index = to_device(self.index, self.rows.device)
            pieces = index.split(max(1, size // batch_bytes) * self.batch_size)
        for piece in pieces:
            batch = self.rows.gather(piece)
            yield batch if self.device is None else tuple(to_device(part, self.device) for part in batch)  # type: ignore[misc]

    def to(self, device: torch.device, **_: Any) -> "Batches":
        """Return the same batches on another device; called by Lightning."""
        return Batches(self.rows, self.index, self.batch_size, device)


def to_device(values: Tensor, device: torch.device) -> Tensor:
    """Copy a tensor to a device; to a GPU through pinned memory, without waiting for what the GPU has to do before."""
    if device.type == "cuda" and values.device.type == "cpu":
        values = values.pin_memory()
    return values.to(device, non_blocking=device.type == "cuda")


class BatchSampler(DistributedSampler[Tensor | slice]):
    """Yield the row numbers of one batch at a time: this process's share of each global batch.

    It is a `DistributedSampler` so that Lightning does not replace it and calls `set_epoch`. The order of rows depends
    only on (seed, epoch), not on the number of processes: with W processes and batch size B, each step takes the same
    W * B rows as one process with batch size W * B.

    With shuffling (training), all shares have the same size, so that averaged gradients weigh all rows equally. If the
    last batch of an epoch cannot be divided by W, up to W - 1 rows are skipped, different ones in each epoch.
    Without shuffling (evaluation), every row comes exactly once, and no row is repeated to pad a share.

    With `ahead`, the next batch of a large epoch is drawn while one is used.
    """

    def __init__(
        self,
        rows: int,
        batch_size: int,
        *,
        shuffle: bool,
        seed: int = 0,
        block_rows: int = BLOCK_ROWS,
        ahead: bool = False,
    ) -> None:
        self.rows, self.batch_size, self.shuffle, self.seed = rows, batch_size, shuffle, seed
        self.block_rows, self.ahead = block_rows, ahead
        self.num_replicas = dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1
        self.rank = dist.get_rank() if self.num_replicas > 1 else 0
        self.epoch, self.start, self.start_epoch = 0, 0, -1
        if rows < self.num_replicas:
            problem = f"{rows} rows cannot be shared by {self.num_replicas} processes; use at most {rows}"
            raise UserError(f"--trainer.devices: {problem}")

    def share(self, rows: int) -> slice:
        """Return this process's share of a global batch with a number of rows."""
        if self.shuffle:
            rows -= rows % self.num_replicas
        return slice(rows * self.rank // self.num_replicas, rows * (self.rank + 1) // self.num_replicas)

    def __iter__(self) -> Iterator[Tensor | slice]:
        size = self.batch_size * self.num_replicas
        if self.shuffle:
            done = self.start if self.epoch == self.start_epoch else 0
            batches = (batch[self.share(len(batch))] for batch in _split(self._order(), size, done))
            batches = (batch for batch in batches if len(batch))
            return _ahead(batches) if self.ahead and self.rows > PERMUTED_ROWS else batches
        starts = ((start, self.share(min(size, self.rows - start))) for start in range(0, self.rows, size))
        return (slice(start + part.start, start + part.stop) for start, part in starts if part.start < part.stop)

    def _order(self) -> Iterator[Tensor]:
        """Yield every row number once, in pieces."""
        generator = torch.Generator().manual_seed(self.seed + 1_000_003 * self.epoch)
        dtype = torch.int32 if self.rows < 2**31 else torch.int64  # randperm is faster in int32
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
        """Return the number of rows, of all processes, in the first items of this epoch."""
        return min(items * self.batch_size * self.num_replicas, self.rows)

    def items_in(self, rows: int) -> int:
        """Return the number of items that are complete after the first rows, of all processes, of an epoch."""
        return rows // (self.batch_size * self.num_replicas) if rows < self.rows else len(self)

    def start_at(self, rows: int) -> None:
        """Skip the first rows of this epoch; other epochs are not affected.

        The first item may be shorter: the rest of an item that was partly skipped.
        """
        self.start, self.start_epoch = rows, self.epoch

    def __len__(self) -> int:
        full, rest = divmod(self.rows, self.batch_size * self.num_replicas)
        last = self.share(rest)
        return full + (last.start < last.stop)


def _ahead(batches: Iterator[Tensor]) -> Iterator[Tensor]:
    """Draw the next batch in another thread while one is used: on a GPU, drawing takes as long as training."""
    with ThreadPoolExecutor(1) as thread:
        following = thread.submit(next, batches, None)
        while (batch := following.result()) is not None:
            following = thread.submit(next, batches, None)
            yield batch


def _split(pieces: Iterator[Tensor], size: int, done: int) -> Iterator[Tensor]:
    """Regroup row numbers into batches of one size, without the first `done`; first and last may be shorter."""
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
    rows: Rows,
    batch_size: int,
    *,
    shuffle: bool,
    seed: int = 0,
    num_workers: int = 0,
    device: torch.device | None = None,
) -> DataLoader[Batch | Batches]:
    """Return a DataLoader whose items are batches `(x, y)`, or `Batches` if `rows.batch_size` is set.

    `device` is that of the model; the rows may be there or on the CPU.
    """
    on_gpu = device is not None and device.type == "cuda"
    order = rows.sampler(batch_size, shuffle, seed=seed, ahead=on_gpu)
    return DataLoader(
        rows,
        batch_size=None,
        sampler=order,
        num_workers=num_workers,
        persistent_workers=num_workers > 0,
        pin_memory=on_gpu and rows.device.type == "cpu",
        collate_fn=shared,
        worker_init_fn=start_worker,
        timeout=WORKER_SECONDS if num_workers else 0,
        generator=torch.Generator().manual_seed(seed),  # a pass must not advance torch's global one
    )
