"""A field of images."""

import base64
from dataclasses import dataclass
from typing import Any, get_args

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from project.runtime.arrow import CellError
from project.schema.field import Field, Mask, Missing, Numbers
from project.schema.pixels import MAX_PIXELS, Fit, Pixels, Size, decode, encode_png
from project.schema.spelling import is_text

EXAMPLE_SIDE = 8  # pixels
DEFAULT_SIZE = Size(3, 224, 224)


@dataclass
class Images:
    """The images of some rows.

    Attributes:
        pixels: Shape (rows, channels, height, width).
        missing: Whether a row has no image, (rows,).
    """

    pixels: Pixels
    missing: Mask

    def __len__(self) -> int:
        return len(self.pixels)


class Image(Field):
    """A column of image files, as bytes or in base64. They become pixels from 0 to 255, channel by channel.

    Attributes:
        size: The size to which all images are converted.
    """

    kind = "image"

    def __init__(self, name: str, missing: Missing = "error", size: Size = DEFAULT_SIZE) -> None:
        super().__init__(name, missing)
        self.size = size

    @property
    def names(self) -> list[str]:
        """A name for each channel."""
        channels, height, width, fit = self.size
        return [f"{self.name}[{channel}: {height} x {width}, {fit}]" for channel in range(channels)]

    @property
    def width(self) -> int:
        """The number of pixels times channels."""
        return self.size.channels * self.size.height * self.size.width

    @property
    def example(self) -> str:
        """A small grey image, in base64."""
        side = min(EXAMPLE_SIDE, self.size.height, self.size.width)
        return base64.b64encode(encode_png(np.full((1, side, side), 128, np.uint8))).decode()

    @property
    def summary(self) -> str:
        """The size."""
        channels, height, width, _ = self.size
        return f"{height} x {width} pixels, {'grey' if channels == 1 else 'red, green and blue'}"

    def parse(self, column: pa.ChunkedArray) -> Images:
        """Decode the images."""
        channels, height, width, _ = self.size
        images = Images(np.zeros((len(column), channels, height, width), np.uint8), np.zeros(len(column), np.bool_))
        for row, data in enumerate(column):
            try:
                value = _bytes(data)
                images.missing[row] = value is None
                if value is not None:
                    images.pixels[row] = decode(value, self.size)
            except CellError as error:
                raise CellError(str(error), row) from None
        return images

    def missing_rows(self, parsed: Images) -> Mask:
        """Return whether each row has no image, (rows,)."""
        return parsed.missing

    def partial_fit(self, parsed: Images, rows: NDArray[np.int64]) -> None:
        """Count the images; nothing else is learned from them."""
        self.gaps += int(parsed.missing[rows].sum())
        self.count += len(rows) - int(parsed.missing[rows].sum())

    def finish(self) -> None:
        """Do nothing, since nothing is learned from images."""

    def encode(self, parsed: Images) -> Numbers:
        """Return the pixels (rows, width)."""
        numbers = parsed.pixels.reshape(len(parsed.pixels), self.width).astype(np.float64)
        numbers[parsed.missing] = np.nan
        return numbers

    def decode(self, numbers: Numbers) -> list[Any]:
        """Return images as PNG in base64."""
        channels, height, width, _ = self.size
        pixels = np.nan_to_num(numbers).reshape(len(numbers), channels, height, width).astype(np.uint8)
        coded = [base64.b64encode(encode_png(image)).decode() for image in pixels]
        return [None if gap else text for gap, text in zip(np.isnan(numbers[:, 0]).tolist(), coded, strict=True)]

    def settings(self) -> dict[str, Any]:
        """Return the size."""
        return self.size._asdict()

    def restore(self, settings: dict[str, Any]) -> None:
        """Set the size."""
        self.size = Size(*(settings[name] for name in Size._fields))
        channels, height, width, fit = self.size
        valid = all(type(number) is int and number > 0 for number in (channels, height, width))
        valid = valid and channels in (1, 3) and height * width <= MAX_PIXELS and fit in get_args(Fit)
        self.require(valid, f"invalid size {self.size!r:.80}")


def _bytes(value: pa.Scalar) -> bytes | None:
    """Return the content of an image file from bytes or from text in base64; None if it is missing."""
    data = value.as_py()
    if data is None or not is_text(value.type):
        return data
    try:
        return base64.b64decode(data, validate=True) if data else None
    except ValueError:
        raise CellError("is not in base64") from None
