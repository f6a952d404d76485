"""Fast batches with torch's DataLoader.

`DataLoader(TensorDataset)` reads rows one by one and collates them. Here the sampler yields the indices of a whole
batch, so that a batch is one `index_select`. Worker processes, pinned memory and Lightning's `set_epoch` work as usual.
"""

from collections.abc import Iterable, Iterator
from copy import copy
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, get_worker_info

from project.data.batch_sampler import BLOCK_ROWS, BatchSampler
from project.data.workers import WORKER_SECONDS, shared, start_worker
from project.runtime.errors import UserError

Batch = tuple[Tensor, Tensor] | tuple[Tensor, Tensor, Tensor]  # inputs, targets, and weights if the rows have any

# Size of a piece of batches that is gathered at once: it fits into the cache of a CPU; a GPU is faster with more.
PIECE_BYTES, GPU_PIECE_BYTES = 2**21, 2**26


class Rows(Dataset["Batch | Batches"]):
    """Inputs and targets, indexed by the row indices of a whole batch.

    Args:
        x: Inputs, shape (rows, *in_shape).
        y: Targets, shape (rows, out_features), or (rows,) for classes.
        batch_size: If set, an item is `Batches` of at most this many rows each.
        block_rows: Number of neighbouring rows in a block, the unit of the first level of the shuffle.
        weights: Optional row weights, the third part of a batch, (rows, 1) or (rows, ensemble members).
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
        """Device of the rows."""
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
        """Return the same rows with weights multiplied by others, (rows, 1) or (rows, ensemble members)."""
        rows = copy(self)
        rows.weights = weights if self.weights is None else self.weights * weights
        return rows

    def sampler(self, batch_size: int, shuffle: bool, **options: Any) -> "BatchSampler":
        """Return the sampler of batches."""
        return BatchSampler(len(self), batch_size, shuffle=shuffle, block_rows=self.block_rows, **options)

    def __getitem__(self, index: Tensor | slice) -> "Batch | Batches":
        if isinstance(index, int):  # with overfit_batches, Lightning uses a sampler of single rows
            raise UserError("--trainer.overfit_batches: would train on single rows; use --trainer.limit_train_batches")
        return self.gather(index) if self.batch_size is None else Batches(self, index, self.batch_size)

    def gather(self, index: Tensor | slice) -> Batch:
        """Return the batch of the rows at an index."""
        parts = (self.x, self.y) if self.weights is None else (self.x, self.y, self.weights)
        if isinstance(index, slice):  # views, without a copy
            views = tuple(part[index] for part in parts)
            if get_worker_info() is not None:  # a worker would send the whole memory of which they are views
                views = tuple(view.clone() for view in views)
            return views  # type: ignore[return-value]
        index = to_device(index, self.x.device)
        return tuple(part.index_select(0, index) for part in parts)  # type: ignore[return-value]


class Batches:
    """Several batches as one item of a loader. The rows at `index`, (n,) or a slice, are gathered during iteration."""

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
        """Yield the same rows in larger pieces of whole batches."""
        pieces: Iterable[Tensor | slice] = [self.index]
        if not isinstance(self.index, slice):  # gathering each batch has overhead, and gathering all exceeds the cache
            batch_bytes = self.rows.nbytes // len(self.rows) * self.batch_size
            size = PIECE_BYTES if self.rows.device.type == "cpu" else GPU_PIECE_BYTES
            index = to_device(self.index, self.rows.device)
            pieces = index.split(max(1, size // batch_bytes) * self.batch_size)
        for piece in pieces:
            batch = self.rows.gather(piece)
            yield batch if self.device is None else tuple(to_device(part, self.device) for part in batch)  # type: ignore[misc]

    def to(self, device: torch.device, **_: Any) -> "Batches":
        """Return the same batches on another device. Lightning calls this method."""
        return Batches(self.rows, self.index, self.batch_size, device)


def to_device(values: Tensor, device: torch.device) -> Tensor:
    """Copy a tensor to a device; to a GPU through pinned memory, without waiting for the GPU."""
    if device.type == "cuda" and values.device.type == "cpu":
        values = values.pin_memory()
    return values.to(device, non_blocking=device.type == "cuda")


def row_loader(
    rows: Rows,
    batch_size: int,
    *,
    shuffle: bool,
    steps: int = 1,
    seed: int = 0,
    num_workers: int = 0,
    device: torch.device | None = None,
) -> DataLoader[Batch | Batches]:
    """Return a DataLoader whose items are batches `(x, y)`, or `Batches` of up to `steps` batches if there are several.

    `device` is the device of the model. The rows are on this device or on the CPU.
    """
    rows = rows.grouped(batch_size) if steps > 1 else rows
    on_gpu = device is not None and device.type == "cuda"
    order = rows.sampler(batch_size, shuffle, seed=seed, steps=steps, ahead=on_gpu)
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
        generator=torch.Generator().manual_seed(seed),  # so that a pass does not advance torch's global generator
    )
