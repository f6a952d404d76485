"""A file that appears when all of it is there."""

import hashlib
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from project.runtime.errors import UserError

READ_BYTES = 2**20


def check_output(path: Path, suffixes: Sequence[str], source: Path | None = None) -> None:
    """Raise a UserError unless a file of one of these kinds can be written there, and is not the one that is read."""
    if path.is_dir():
        raise UserError(f"{path}: is a folder: give the name of a file")
    if path.suffix.lower() not in suffixes:
        raise UserError(f"{path}: give an output file that ends in {' or '.join(suffixes)}")
    if not path.parent.is_dir():
        raise UserError(f"{path}: there is no folder {path.parent}")
    if source is not None and path.exists() and source.exists() and path.samefile(source):
        raise UserError(f"{path}: is the file that is read: give another name")


def check_folder(path: Path, kind: str, mark: str, *others: str) -> None:
    """Raise a UserError unless a folder is new, empty, or one of a kind.

    Args:
        path: The folder.
        kind: What it is to hold, as it is told.
        mark: Name of a file by which it is known.
        others: Names that may be there before that one.
    """
    if path.exists() and not path.is_dir():
        raise UserError(f"{path}: is a file: give a folder")
    entries = path.iterdir() if path.is_dir() else ()
    names = {entry.name for entry in entries if not entry.name.startswith(".")}  # locks, and what systems leave
    if mark not in names and names - {*others}:
        raise UserError(f"{path}: holds something else than {kind}: give a folder that is new or empty")


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """A temporary file beside a path, which takes its place at the end; after an error, nothing has happened."""
    temporary = path.with_name(f".{os.getpid()}.{path.name}")
    try:
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        if error.filename == str(temporary):  # which no user has heard of
            error.filename = str(path)
        raise
    finally:
        temporary.unlink(missing_ok=True)


def sha256(file: BinaryIO, length: int) -> bytes:
    """Return the SHA-256 of the next `length` bytes of a file, or of the rest if it is shorter, and move past them."""
    digest = hashlib.sha256()
    while block := file.read(min(length, READ_BYTES)):
        digest.update(block)
        length -= len(block)
    return digest.digest()
