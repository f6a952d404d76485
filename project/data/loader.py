"""Batches of rows at the speed of memory, through torch's own DataLoader.

A stock `DataLoader(TensorDataset)` picks rows one by one and collates them again. Here the sampler yields a whole batch
of indices at once, so that a batch is one `index_select`, and the rest of the machinery (worker processes, pinned
memory, Lightning's `set_epoch`) stays as it is.
"""

from collections.abc import Iterator

import torch
import torch.distributed as dist
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, DistributedSampler

from project.errors import UserError

Batch = tuple[Tensor, Tensor]


class Rows(Dataset[Batch]):
    """Inputs and targets, indexed by a batch of rows at once.

    Args:
        x: Inputs, shape (rows, *in_shape).
        y: Targets, shape (rows, out_features), or (rows,) for classes.
    """

    def __init__(self, x: Tensor, y: Tensor) -> None:
        if len(x) != len(y):
            raise ValueError(f"x has {len(x)} rows and y has {len(y)}")
        self.x, self.y = x, y

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, index: Tensor | slice) -> Batch:
        if isinstance(index, slice):
            return self.x[index], self.y[index]  # a view: neighbouring rows need no copy
        if isinstance(index, int):  # Lightning has put a sampler of single rows in the place of batches
            raise UserError("--trainer.overfit_batches would train on single rows: use --trainer.limit_train_batches")
        return self.x.index_select(0, index), self.y.index_select(0, index)


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

    Raises:
        UserError: If there are fewer rows than processes.
    """

    def __init__(self, rows: int, batch_size: int, *, shuffle: bool, seed: int = 0) -> None:
        self.rows, self.batch_size, self.shuffle, self.seed = rows, batch_size, shuffle, seed
        self.num_replicas = dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1
        self.rank = dist.get_rank() if self.num_replicas > 1 else 0
        self.epoch = 0
        if rows < self.num_replicas:
            raise UserError(
                f"{rows} rows cannot be shared by {self.num_replicas} processes: lower --trainer.devices to {rows}"
            )

    def share(self, start: int) -> slice:
        """This process's part of the global batch that begins at row `start`."""
        rows = min(self.batch_size * self.num_replicas, self.rows - start)
        if self.shuffle:
            rows -= rows % self.num_replicas
        return slice(start + rows * self.rank // self.num_replicas, start + rows * (self.rank + 1) // self.num_replicas)

    def __iter__(self) -> Iterator[Tensor | slice]:
        starts = range(0, self.rows, self.batch_size * self.num_replicas)
        shares = (share for share in map(self.share, starts) if share.start < share.stop)
        if not self.shuffle:
            return iter(shares)
        generator = torch.Generator().manual_seed(self.seed + 1_000_003 * self.epoch)
        order = torch.randperm(self.rows, generator=generator)
        return (order[share] for share in shares)

    def __len__(self) -> int:
        full, rest = divmod(self.rows, self.batch_size * self.num_replicas)
        last = self.share(self.rows - rest)
        return full + (last.start < last.stop)


def row_loader(rows: Rows, batch_size: int, *, shuffle: bool, seed: int = 0, num_workers: int = 0) -> DataLoader[Batch]:
    """A standard DataLoader whose items are whole batches `(x, y)`."""
    return DataLoader(
        rows,
        batch_size=None,
        sampler=BatchSampler(len(rows), batch_size, shuffle=shuffle, seed=seed),
        num_workers=num_workers,
        persistent_workers=num_workers > 0,
        pin_memory=torch.cuda.is_available(),
        generator=torch.Generator().manual_seed(seed),  # else each pass would draw from, and so shift, torch's own
    )
