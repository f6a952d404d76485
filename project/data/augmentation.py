"""Random augmentation of training images, as a function of (seed, epoch, row)."""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

DRAWS = 7  # random numbers for each row and epoch


class Augmentation(NamedTuple):
    """Random augmentation of images. The defaults change nothing.

    Attributes:
        flip: Whether to mirror half of the images.
        shift: Maximum shift along each axis, as a fraction of the side.
        rotate: Maximum rotation, in degrees.
        zoom: Maximum change of the scale, as a fraction.
        contrast: Maximum change of brightness and of contrast, as a fraction.
    """

    flip: bool = False
    shift: float = 0.0
    rotate: float = 0.0
    zoom: float = 0.0
    contrast: float = 0.0

    def draws(self, rows: int, seed: int, epoch: int) -> Tensor:
        """Return uniform random numbers for each row of an epoch, (rows, 7) in [0, 1)."""
        generator = torch.Generator().manual_seed(1_000_003 * (seed + 1) + epoch)
        return torch.rand(rows, DRAWS, generator=generator)

    def __call__(self, x: Tensor, draws: Tensor) -> Tensor:
        """Augment images (B, channels, height, width) of pixels from 0 to 255 with random numbers (B, 7).

        Pixels from outside the image are copies of the nearest pixel.
        """
        if self.flip:
            x = torch.where(draws[:, 0, None, None, None] < 0.5, x.flip(3), x)
        either = 2 * draws[:, 1:] - 1  # (B, 6) in [-1, 1)
        if self.shift or self.rotate or self.zoom:
            x = functional.grid_sample(x, self._places(x, either), padding_mode="border", align_corners=False)
        if self.contrast:
            factor, offset = (1 + self.contrast * either[:, 4]), 255 * self.contrast * either[:, 5]
            x = (127.5 + (x - 127.5) * factor[:, None, None, None] + offset[:, None, None, None]).clamp(0, 255)
        return x

    def _places(self, x: Tensor, either: Tensor) -> Tensor:
        """Return the source position of each pixel for `grid_sample`, (B, height, width, 2), from -1 to 1."""
        height, width = x.shape[2:]
        row = ((torch.arange(height, device=x.device) * 2 + 1) / height - 1)[None, :, None] * height / width
        column = ((torch.arange(width, device=x.device) * 2 + 1) / width - 1)[None, None, :]
        angle = either[:, 0] * self.rotate * torch.pi / 180
        scale = 1 / (1 + self.zoom * either[:, 1])
        cos, sin = (scale * angle.cos())[:, None, None], (scale * angle.sin())[:, None, None]
        right, down = (2 * self.shift * each[:, None, None] for each in (either[:, 2], either[:, 3]))
        return torch.stack(
            [cos * column - sin * row + right, (sin * column + cos * row) * width / height + down], dim=3
        )


NONE = Augmentation()
