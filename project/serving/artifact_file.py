"""Opening the file of an exported model, which may be anything that lies at its path."""

import errno
import os
import stat
from pathlib import Path
from typing import BinaryIO

from project.runtime.errors import UserError

MAX_BYTES = 2**31  # the most that ONNX's format, Protocol Buffers, holds
RESOURCES = (errno.EMFILE, errno.ENFILE)  # the file is not to blame, and may be opened later
HINT = "pass an .onnx file written by scripts/export.py"


def open_artifact(path: Path) -> BinaryIO:
    """Open a regular file for reading, without waiting: opening a FIFO, or reading a device, may take forever.

    Raises:
        UserError: If there is no regular file at the path, or one that is too large.
    """
    try:
        _check(path, path.stat())  # before a FIFO's writer notices a reader
        flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)  # one is POSIX's, one Windows'
        file = os.fdopen(os.open(path, flags), "rb")
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; {HINT}") from None
    except OSError as error:
        if error.errno in RESOURCES:
            raise
        raise UserError(f"{path}: {error.strerror}; {HINT}") from None
    try:
        _check(path, os.fstat(file.fileno()))  # another file may have taken its place
    except UserError:
        file.close()
        raise
    return file


def _check(path: Path, status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        kind = "is a folder" if stat.S_ISDIR(status.st_mode) else "is not a regular file"
        hint = f"export it with python scripts/export.py {path}" if (path / "checkpoints").is_dir() else HINT
        raise UserError(f"{path}: {kind}; {hint}")
    if status.st_size > MAX_BYTES:
        raise UserError(f"{path}: is larger than 2 GiB, the most that an ONNX file holds; {HINT}")
