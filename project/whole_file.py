"""A file that appears when all of it is there."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from project.errors import UserError


def check_output(path: Path, suffixes: Sequence[str]) -> None:
    """Raise a UserError unless a file of one of these kinds can be written there."""
    if path.is_dir():
        raise UserError(f"{path}: is a folder: give the name of a file")
    if path.suffix.lower() not in suffixes:
        raise UserError(f"{path}: give an output file that ends in {' or '.join(suffixes)}")
    if not path.parent.is_dir():
        raise UserError(f"{path}: there is no folder {path.parent}")


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A temporary file beside a path, which takes its place at the end; after an error, nothing has happened."""
    temporary = path.with_name(f".{os.getpid()}.{path.name}")
    try:
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
