"""Rows of images, whose batches are gathered from pixels in memory or on disk."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from project.data.augmentation import NONE, Augmentation
from project.data.batch_sampler import BLOCK_ROWS, BatchSampler
from project.data.loader import Batch, Rows, to_device


class ImageRows(Rows):
    """Images with targets. When rows are shuffled for training, they are augmented.

    Args:
        pixels: All images, (images, channels, height, width), uint8.
        index: Index of the image of each row, (rows,).
        y: Targets, (rows, out_features) or (rows,) for classes.
        augmentation: Augmentation of training images.
        seed: Seed of the augmentation.

    Attributes:
        x: All images of the rows, (rows, channels, height, width), float32: four times the memory of the pixels.
    """

    def __init__(
        self, pixels: Tensor, index: Tensor, y: Tensor, augmentation: Augmentation = NONE, seed: int = 0
    ) -> None:
        self.pixels, self.index, self.y, self.augmentation, self.seed = pixels, index, y, augmentation, seed
        self.batch_size, self.weights, self.block_rows = None, None, BLOCK_ROWS
        self._draws: tuple[int, Tensor] | None = None  # of the last epoch

    @property
    def x(self) -> Tensor:  # type: ignore[override]
        """All images of the rows in order, (rows, channels, height, width), float32."""
        return self.gather(slice(0, len(self)))[0]

    def first(self, count: int) -> Tensor:
        """Return the first images, (count, channels, height, width), float32."""
        return self.gather(slice(0, min(count, len(self))))[0]

    def __len__(self) -> int:
        return len(self.index)

    @property
    def device(self) -> torch.device:
        """Device of the pixels."""
        return self.pixels.device

    @property
    def nbytes(self) -> int:
        """Size of the rows' pixels in memory."""
        return len(self) * self.pixels[:1].nbytes + self.y.nbytes

    def to(self, device: torch.device) -> "ImageRows":
        """Return the same rows on another device, with only their own pixels."""
        pixels, index = self.pixels.index_select(0, self.index), torch.arange(len(self))
        rows = ImageRows(pixels.to(device), index.to(device), self.y.to(device), self.augmentation, self.seed)
        rows.weights, rows.batch_size = None if self.weights is None else self.weights.to(device), self.batch_size
        return rows

    def sampler(self, batch_size: int, shuffle: bool, **options: Any) -> BatchSampler:
        """Return the sampler of batches."""
        if not shuffle or self.augmentation == NONE:
            return super().sampler(batch_size, shuffle, **options)
        return EpochSampler(len(self), batch_size, shuffle=True, **options)

    def gather(self, index: Tensor | slice) -> Batch:
        """Return the batch of the rows at an index; rows of an `EpochSampler` are augmented."""
        if isinstance(index, slice):
            index = torch.arange(index.start, index.stop)
        index, (epoch, augmented) = index.long(), (0, False)
        if len(index) and (epoch := int(index[0]) // len(self)):
            index, augmented = index % len(self), True
        place = to_device(index, self.device)
        x = self.pixels.index_select(0, self.index.index_select(0, place)).float()
        if augmented:
            x = self.augmentation(x, to_device(self._drawn(epoch).index_select(0, index), self.device))
        parts = (self.y,) if self.weights is None else (self.y, self.weights)
        return (x, *(part.index_select(0, place) for part in parts))  # type: ignore[return-value]

    def _drawn(self, epoch: int) -> Tensor:
        if self._draws is None or self._draws[0] != epoch:
            self._draws = epoch, self.augmentation.draws(len(self), self.seed, epoch)
        return self._draws[1]


class EpochSampler(BatchSampler):
    """Yields row indices plus `rows` * (1 + epoch), so that `ImageRows` knows the epoch of a batch."""

    def _order(self) -> Iterator[Tensor]:
        for piece in super()._order():
            yield piece.long() + self.rows * (self.epoch + 1)
