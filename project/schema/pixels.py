"""Decoding of image files to pixels of one size. Training and the server use the same code."""

import io
from contextlib import suppress
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import (  # noqa: F401 (Pillow reads only the formats whose plugins are imported)
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

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")  # for some other formats, Pillow starts external programs
MAX_PIXELS = 2**26  # before resizing, since a few bytes may decompress to gigabytes
# Bytes for each pixel: while an image is decoded, rotated and converted; for the coefficients of a progressive JPEG.
PIXEL_MEMORY, COEFFICIENT_MEMORY = 16, 6
ROTATED = (5, 6, 7, 8)  # values of the EXIF orientation that swap width and height
GREY = ("1", "L", "LA", "I;16", "I;16B", "I;16L")

Fit = Literal["crop", "stretch", "pad"]
Pixels = NDArray[np.uint8]


class Size(NamedTuple):
    """The size to which images are converted.

    Attributes:
        channels: 1 for grey, 3 for red, green and blue.
        height: Rows of pixels.
        width: Columns of pixels.
        fit: How an image with another ratio of height and width is fitted: "crop" cuts out the middle, "stretch"
            distorts it, "pad" adds black borders.
    """

    channels: int
    height: int
    width: int
    fit: Fit = "crop"


class Header(NamedTuple):
    """Facts about an image that its header contains.

    Attributes:
        is_grey: Whether the image has a single channel.
        height: Height in pixels, after the rotation that EXIF requests.
        width: Width in pixels, after the rotation that EXIF requests.
    """

    is_grey: bool
    height: int
    width: int


def read_header(data: bytes) -> Header:
    """Read the header of an image file without decoding the pixels.

    Raises:
        CellError: If the file is not an image, or the image is too large.
    """
    image = _open(data)
    try:
        rotated = image.getexif().get(ExifTags.Base.Orientation) in ROTATED
    except Exception:  # the pixels may be fine although EXIF is damaged
        rotated = False
    height, width = (image.width, image.height) if rotated else (image.height, image.width)
    return Header(image.mode in GREY, height, width)


def decode(data: bytes, size: Size) -> Pixels:
    """Return the pixels of an image file, (channels, height, width).

    The rotation in EXIF is applied, 16 bits become 8, and transparent pixels become white. Of an animation, the first
    frame is used.

    Raises:
        CellError: If the file is damaged or not an image, or the image is too large.
    """
    image = _open(data)
    try:
        _draft(image, size)
        image = _remove_alpha(_resize(_convert(_rotate(image), size.channels), size), size.channels)
    except CellError:
        raise
    except Exception as error:  # Pillow raises exceptions of many classes for damaged files
        raise CellError(f"cannot be decoded ({_explain(error)})") from None
    values = np.asarray(image)
    return np.ascontiguousarray(values[None] if size.channels == 1 else values.transpose(2, 0, 1))


def decoding_memory(data: bytes, size: Size) -> int:
    """Return an upper limit on the bytes of memory that `decode` needs.

    Raises:
        CellError: If the file is not an image, or the image is too large.
    """
    image = _open(data)
    whole = image.width * image.height
    _draft(image, size)
    coefficients = COEFFICIENT_MEMORY * whole if image.info.get("progressive") else 0
    return PIXEL_MEMORY * image.width * image.height + coefficients + len(data)


def encode_png(pixels: Pixels) -> bytes:
    """Return a PNG file that `decode` converts back to these pixels (channels, height, width)."""
    file = io.BytesIO()
    Image.fromarray(pixels[0] if len(pixels) == 1 else np.ascontiguousarray(pixels.transpose(1, 2, 0))).save(
        file, "PNG"
    )
    return file.getvalue()


def _open(data: bytes) -> Image.Image:
    try:
        image = Image.open(io.BytesIO(data), formats=FORMATS)
    except Exception as error:
        raise CellError("is empty" if not len(data) else f"is not an image ({_explain(error)})") from None
    if image.width * image.height > MAX_PIXELS:
        raise CellError(f"has {image.width:,} x {image.height:,} pixels, more than {MAX_PIXELS:,}")
    return image


def _draft(image: Image.Image, size: Size) -> None:
    """Decode a JPEG file at a fraction of its size, at least twice the size needed, which is faster."""
    side = 2 * max(size.height, size.width)
    image.draft(None, (side, side))


def _explain(error: Exception) -> str:
    text = str(error).split("\n")[0]
    return "of no known format" if "cannot identify" in text else text or type(error).__name__


def _rotate(image: Image.Image) -> Image.Image:
    image.load()
    with suppress(Exception):  # damaged EXIF
        ImageOps.exif_transpose(image, in_place=True)
    return image


def _convert(image: Image.Image, channels: int) -> Image.Image:
    """Convert an image to 8 bits per channel, without a palette; to RGBA if pixels may be transparent."""
    if image.mode.startswith("I;16"):  # Pillow's own conversion would make everything above 255 white
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    if image.mode in ("I", "F"):
        raise CellError("has pixels of 32 bits, whose range is not known; save it with 8 or 16 bits")
    return image.convert("RGBA" if image.has_transparency_data else "L" if channels == 1 else "RGB")


def _remove_alpha(image: Image.Image, channels: int) -> Image.Image:
    if image.mode != "RGBA":
        return image
    white = Image.new("RGBA", image.size, "white")
    return Image.alpha_composite(white, image).convert("L" if channels == 1 else "RGB")


def _resize(image: Image.Image, size: Size) -> Image.Image:
    target = (size.width, size.height)
    if size.fit == "stretch":
        return image.resize(target)
    return ImageOps.fit(image, target) if size.fit == "crop" else ImageOps.pad(image, target, color="black")
