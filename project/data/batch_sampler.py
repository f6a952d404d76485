"""The sampler of batches: the order of rows is a function of (seed, epoch), for any number of processes."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import torch
import torch.distributed as dist
from torch import Tensor
from torch.utils.data import DistributedSampler

from project.runtime.errors import UserError

# Up to this number of rows, the order of an epoch is one random permutation. With more rows, blocks of neighbouring
# rows are in random order, and rows are permuted within a buffer of blocks, so that reads are more local and the order
# needs no memory. A buffer has blocks from all parts of the data, so that rows sorted by their target are mixed.
PERMUTED_ROWS = 2**18
BLOCK_ROWS = 64
BUFFER_BLOCKS = 1_024


class BatchSampler(DistributedSampler[Tensor | slice]):
    """Yield the row indices of one batch at a time, the share of this process in each global batch.

    It is a `DistributedSampler`, so that Lightning does not replace it, and calls `set_epoch`. The order of rows
    depends only on (seed, epoch), not on the number of processes: with W processes and batch size B, each step takes
    the same W * B rows as one process with batch size W * B. With `steps`, an item has the rows of so many batches.

    With shuffling (training), all shares have the same size, so that averaged gradients weigh all rows equally. If the
    last batch of an epoch cannot be divided by W, up to W - 1 rows are skipped, different ones in each epoch.
    Without shuffling (evaluation), every row occurs exactly once, and no row is repeated to pad a share.

    Args:
        rows: Number of rows.
        batch_size: Rows per batch and process.
        shuffle: Whether to shuffle the rows.
        seed: Seed of the order.
        steps: Number of batches in an item.
        block_rows: Number of neighbouring rows in a block.
        ahead: Whether to draw the next item of a large epoch in another thread.

    Raises:
        UserError: If there are fewer rows than processes.
    """

    def __init__(
        self,
        rows: int,
        batch_size: int,
        *,
        shuffle: bool,
        seed: int = 0,
        steps: int = 1,
        block_rows: int = BLOCK_ROWS,
        ahead: bool = False,
    ) -> None:
        self.rows, self.batch_size, self.shuffle, self.seed, self.steps = rows, batch_size, shuffle, seed, steps
        self.block_rows, self.ahead = block_rows, ahead
        self.num_replicas = dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1
        self.rank = dist.get_rank() if self.num_replicas > 1 else 0
        self.epoch, self.start, self.start_epoch = 0, 0, -1
        if rows < self.num_replicas:
            problem = f"{rows} rows cannot be shared by {self.num_replicas} processes; use at most {rows}"
            raise UserError(f"--trainer.devices: {problem}")

    @property
    def item_rows(self) -> int:
        """Number of rows of all processes in an item."""
        return self.batch_size * self.steps * self.num_replicas

    def share(self, rows: int) -> slice:
        """Return the share of this process in a global batch with a number of rows."""
        if self.shuffle:
            rows -= rows % self.num_replicas
        return slice(rows * self.rank // self.num_replicas, rows * (self.rank + 1) // self.num_replicas)

    def __iter__(self) -> Iterator[Tensor | slice]:
        size = self.item_rows
        if self.shuffle:
            done = self.start if self.epoch == self.start_epoch else 0
            items = (self._own(item) for item in _split(self._order(), size, done))
            items = (item for item in items if len(item))
            return _ahead(items) if self.ahead and self.rows > PERMUTED_ROWS else items
        starts = ((start, self.share(min(size, self.rows - start))) for start in range(0, self.rows, size))
        return (slice(start + part.start, start + part.stop) for start, part in starts if part.start < part.stop)

    def _own(self, item: Tensor) -> Tensor:
        """Return this process's share of each global batch of an item."""
        if self.num_replicas == 1:
            return item
        batches = item.split(self.batch_size * self.num_replicas)
        return torch.cat([batch[self.share(len(batch))] for batch in batches])

    def _order(self) -> Iterator[Tensor]:
        """Yield each row index once, in pieces."""
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
        """Return the number of rows in the first items of this epoch, of all processes together."""
        return min(items * self.item_rows, self.rows)

    def items_in(self, rows: int) -> int:
        """Return the number of complete items in the first rows of an epoch, of all processes together."""
        return rows // self.item_rows if rows < self.rows else len(self)

    def start_at(self, rows: int) -> None:
        """Skip the first rows of this epoch, but not of other epochs.

        The first item is shorter if an item is partly skipped.
        """
        self.start, self.start_epoch = rows, self.epoch

    def __len__(self) -> int:
        full, rest = divmod(self.rows, self.item_rows)
        last = self.share(rest)
        return full + (last.start < last.stop)


def _ahead(batches: Iterator[Tensor]) -> Iterator[Tensor]:
    """Draw the next batch in another thread, because on a GPU drawing takes as long as training."""
    with ThreadPoolExecutor(1) as thread:
        following = thread.submit(next, batches, None)
        while (batch := following.result()) is not None:
            following = thread.submit(next, batches, None)
            yield batch


def _split(pieces: Iterator[Tensor], size: int, done: int) -> Iterator[Tensor]:
    """Regroup row indices into batches of one size, without the first `done`. The first and last may be shorter."""
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
