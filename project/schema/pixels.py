"""Image files as pixels of one size, by the same code in training and behind a server."""

import io
from contextlib import suppress
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import (  # noqa: F401 (a format is known once its plugin is imported)
    BmpImagePlugin,
    ExifTags,
    GifImagePlugin,
    Image,
    ImageOps,
    JpegImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)

from project.runtime.arrow import CellError

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")  # some of Pillow's others run programs
MAX_PIXELS = 2**26  # of a file, before it is resized: a few bytes may stand for gigabytes
# Bytes of memory for a pixel while it is decoded, turned and converted, and for the coefficients of a progressive JPEG.
PIXEL_MEMORY, COEFFICIENT_MEMORY = 16, 6
TURNED = (5, 6, 7, 8)  # values of the EXIF orientation with which width and height change places
GREY = ("1", "L", "LA", "I;16", "I;16B", "I;16L")

Fit = Literal["crop", "stretch", "pad"]
Pixels = NDArray[np.uint8]


class Size(NamedTuple):
    """What images of any size become.

    Attributes:
        channels: 1 for grey, 3 for red, green and blue.
        height: Rows of pixels.
        width: Columns of pixels.
        fit: What becomes of another ratio of height and width: the middle is cut out, the image is distorted, or black
            is added.
    """

    channels: int
    height: int
    width: int
    fit: Fit = "crop"


class Header(NamedTuple):
    """What the first bytes of a file say: whether the image is grey, and its size after the turn that EXIF asks for."""

    is_grey: bool
    height: int
    width: int


def read_header(data: bytes) -> Header:
    """Read the size of an image without decoding it; raise a CellError if it is none, or too large."""
    image = _open(data)
    try:
        turned = image.getexif().get(ExifTags.Base.Orientation) in TURNED
    except Exception:  # of damaged EXIF, which says nothing about the pixels
        turned = False
    height, width = (image.width, image.height) if turned else (image.height, image.width)
    return Header(image.mode in GREY, height, width)


def decode(data: bytes, size: Size) -> Pixels:
    """Return the pixels of an image file, (channels, height, width).

    EXIF turns are followed, 16 bits become 8, and what is transparent becomes white. Of an animation it is the first
    image.

    Raises:
        CellError: If the file is damaged, no image, or too large.
    """
    image = _open(data)
    try:
        _draft(image, size)
        image = _without_alpha(_resized(_plain(_turned(image), size.channels), size), size.channels)
    except CellError:
        raise
    except Exception as error:  # Pillow raises almost any for a damaged file
        raise CellError(f"cannot be decoded ({_reason(error)})") from None
    values = np.asarray(image)
    return np.ascontiguousarray(values[None] if size.channels == 1 else values.transpose(2, 0, 1))


def decoding_memory(data: bytes, size: Size) -> int:
    """Return an upper limit on the bytes that `decode` takes; raise a CellError for what is no image, or too large."""
    image = _open(data)
    whole = image.width * image.height
    _draft(image, size)
    coefficients = COEFFICIENT_MEMORY * whole if image.info.get("progressive") else 0
    return PIXEL_MEMORY * image.width * image.height + coefficients + len(data)


def encode_png(pixels: Pixels) -> bytes:
    """Return an image file of which `decode` makes the same pixels, (channels, height, width)."""
    file = io.BytesIO()
    Image.fromarray(pixels[0] if len(pixels) == 1 else np.ascontiguousarray(pixels.transpose(1, 2, 0))).save(
        file, "PNG"
    )
    return file.getvalue()


def _open(data: bytes) -> Image.Image:
    try:
        image = Image.open(io.BytesIO(data), formats=FORMATS)
    except Exception as error:
        raise CellError("is empty" if not len(data) else f"is no image ({_reason(error)})") from None
    if image.width * image.height > MAX_PIXELS:
        raise CellError(f"has {image.width:,} x {image.height:,} pixels, more than {MAX_PIXELS:,}")
    return image


def _draft(image: Image.Image, size: Size) -> None:
    """Let a JPEG file be decoded at a fraction of its size, if that is still twice as large as needed."""
    side = 2 * max(size.height, size.width)
    image.draft(None, (side, side))


def _reason(error: Exception) -> str:
    text = str(error).split("\n")[0]
    return "of no known format" if "cannot identify" in text else text or type(error).__name__


def _turned(image: Image.Image) -> Image.Image:
    image.load()
    with suppress(Exception):  # of damaged EXIF
        ImageOps.exif_transpose(image, in_place=True)
    return image


def _plain(image: Image.Image, channels: int) -> Image.Image:
    """Return an image with 8 bits a channel, without palette; RGBA if some of it may be transparent."""
    if image.mode.startswith("I;16"):  # Pillow's own conversion would make everything above 255 white
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    if image.mode in ("I", "F"):
        raise CellError("has pixels of 32 bits, whose range is not known; save it with 8 or 16 bits")
    return image.convert("RGBA" if image.has_transparency_data else "L" if channels == 1 else "RGB")


def _without_alpha(image: Image.Image, channels: int) -> Image.Image:
    if image.mode != "RGBA":
        return image
    white = Image.new("RGBA", image.size, "white")
    return Image.alpha_composite(white, image).convert("L" if channels == 1 else "RGB")


def _resized(image: Image.Image, size: Size) -> Image.Image:
    target = (size.width, size.height)
    if size.fit == "stretch":
        return image.resize(target)
    return ImageOps.fit(image, target) if size.fit == "crop" else ImageOps.pad(image, target, color="black")
