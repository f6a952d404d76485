"""A checksum inside an ONNX file: neither the format nor ONNX Runtime notices a changed weight.

The checksum is one more entry of the file's metadata, in the last bytes of the file.
"""

import hashlib
from pathlib import Path

from project.runtime.errors import UserError
from project.runtime.files import sha256

KEY = b"hello_lightning_sha256"


def seal(path: Path) -> None:
    """Append the SHA-256 of a file to it."""
    with path.open("rb+") as file:
        file.write(_entry(sha256(file, path.stat().st_size)))


def verify(content: bytes, path: Path) -> None:
    """Raise a UserError if the checksum in a file's content does not match the rest; a file without one is accepted."""
    length = len(content) - len(_entry(bytes(32)))
    if length < 0:
        return
    end = content[length:]
    if KEY in end and end != _entry(hashlib.sha256(memoryview(content)[:length]).digest()):
        raise UserError(f"{path}: damaged, or changed since it was written; export the run again")


def _entry(digest: bytes) -> bytes:
    """Encode field metadata_props of ONNX's ModelProto, https://github.com/onnx/onnx/blob/main/onnx/onnx.proto"""
    value = digest.hex().encode()
    pair = b"".join([b"\x0a", bytes([len(KEY)]), KEY, b"\x12", bytes([len(value)]), value])
    return b"\x72" + bytes([len(pair)]) + pair
