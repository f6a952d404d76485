"""Images in requests: as the body itself, or in base64 within a JSON body."""

import base64
from typing import Any

import numpy as np

from project.runtime.arrow import CellError
from project.schema.image import Image
from project.schema.pixels import decode, decoding_memory
from project.serving.artifact import Array
from project.serving.request_error import RequestError, quoted, request_errors, require


def checked_memory(data: bytes, image: Image, limit: int, row: int | None = None) -> int:
    """Return the bytes that decoding takes; raise a RequestError if they exceed `limit`, or the data are no image."""
    with request_errors(422, CellError, row=row, field=image.name):
        memory = decoding_memory(data, image.size)
    problem = f"needs {memory / 2**20:.0f} MiB to decode, more than {limit / 2**20:.0f}; send a smaller image"
    require(memory <= limit, 413, problem, row, image.name)
    return memory


def read_image(body: bytes, image: Image) -> Array:
    """Return the pixels of a body that is an image, (1, channels, height, width)."""
    with request_errors(422, CellError, field=image.name):
        return decode(body, image.size)[None].astype(np.float32)


def image_bytes(value: Any, image: Image, limit: int, row: int) -> bytes | None:
    """Return the bytes of an image that a JSON value holds in base64 or as a `data:` URL; None for null.

    Raises:
        RequestError: If the value is something else, or decoding takes more than `limit` bytes of memory.
    """
    if value is None:
        return None
    require(type(value) is str, 422, f"{quoted(value)} is not an image in base64", row, image.name)
    text = value.partition(";base64,")[2] if value.startswith("data:") else value
    try:
        data = base64.b64decode(text, validate=True)
    except ValueError:
        raise RequestError(422, "is not in base64", row, image.name) from None
    checked_memory(data, image, limit, row)
    return data
