"""Bodies that are an image, and images within bodies in JSON."""

import base64
from typing import Any

import numpy as np

from project.runtime.arrow import CellError
from project.schema.image import Image
from project.schema.pixels import decode, decoding_memory
from project.serving.artifact import Array
from project.serving.request_error import RequestError, quoted, require


def checked_memory(data: bytes, image: Image, most: int, row: int | None = None) -> int:
    """Return the bytes that decoding takes; raise a RequestError for more than `most`, or what is no image."""
    try:
        memory = decoding_memory(data, image.size)
    except CellError as error:
        raise RequestError(422, str(error), row, image.name) from None
    problem = f"needs {memory / 2**20:.0f} MiB to decode, more than {most / 2**20:.0f}; send a smaller image"
    require(memory <= most, 413, problem, row, image.name)
    return memory


def read_image(body: bytes, image: Image) -> Array:
    """Return the pixels of a body that is an image, (1, channels, height, width)."""
    try:
        return decode(body, image.size)[None].astype(np.float32)
    except CellError as error:
        raise RequestError(422, str(error), None, image.name) from None


def image_bytes(value: Any, image: Image, most: int, row: int) -> bytes | None:
    """Return the image that a value in JSON holds in base64, also as a `data:` address, None for null.

    Raises:
        RequestError: For what is neither, or needs more memory than `most` bytes.
    """
    if value is None:
        return None
    require(type(value) is str, 422, f"{quoted(value)} is no image in base64", row, image.name)
    text = value.partition(";base64,")[2] if value.startswith("data:") else value
    try:
        data = base64.b64decode(text, validate=True)
    except ValueError:
        raise RequestError(422, "is not in base64", row, image.name) from None
    checked_memory(data, image, most, row)
    return data
