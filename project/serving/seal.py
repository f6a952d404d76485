"""A checksum within an ONNX file: neither its format nor ONNX Runtime notices a weight that is not as it was written.

It is one more entry of the file's metadata, and the last bytes of the file.
"""

import hashlib
from pathlib import Path

from project.runtime.errors import UserError

KEY = b"hello_lightning_sha256"
READ_BYTES = 2**20


def seal(path: Path) -> None:
    """Append the SHA-256 of a file to it."""
    digest = _digest(path, path.stat().st_size)
    with path.open("ab") as file:
        file.write(_entry(digest))


def verify(path: Path) -> None:
    """Raise a UserError where a file that was sealed is not as it was then."""
    length = path.stat().st_size - len(_entry("0" * 64))
    if length < 0:
        return
    with path.open("rb") as file:
        file.seek(length)
        end = file.read()
    if KEY in end and end != _entry(_digest(path, length)):
        raise UserError(f"{path}: damaged, or changed since it was written: export the run again")


def _entry(digest: str) -> bytes:
    """Field metadata_props of ONNX's ModelProto, https://github.com/onnx/onnx/blob/main/onnx/onnx.proto"""
    pair = b"".join([b"\x0a", bytes([len(KEY)]), KEY, b"\x12", bytes([len(digest)]), digest.encode()])
    return b"\x72" + bytes([len(pair)]) + pair


def _digest(path: Path, length: int) -> str:
    """SHA-256 of so many bytes from the start."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while length > 0 and (block := file.read(min(length, READ_BYTES))):
            digest.update(block)
            length -= len(block)
    return digest.hexdigest()
