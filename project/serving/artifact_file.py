"""Open the file of an exported model safely: the path may lead to a folder, a FIFO or a device."""

import errno
import os
import stat
from pathlib import Path
from typing import BinaryIO

from project.runtime.errors import UserError

MAX_BYTES = 2**31  # the limit of Protocol Buffers, the format of ONNX files
RESOURCES = (errno.EMFILE, errno.ENFILE)  # too many open files: another attempt may succeed
HINT = "pass an .onnx file written by scripts/export.py"


def open_artifact(path: Path) -> BinaryIO:
    """Open a regular file for reading, without waiting: opening a FIFO, or reading a device, may take forever.

    Raises:
        UserError: If there is no regular file at the path, or one that is too large.
    """
    try:
        problem = _problem(path, path.stat())  # checked before it is opened, which the writer of a FIFO would notice
        if problem is None:
            flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)  # POSIX, and Windows
            file = os.fdopen(os.open(path, flags), "rb")
            problem = _problem(path, os.fstat(file.fileno()))  # another file may have replaced it meanwhile
            if problem is None:
                return file
            file.close()
    except OSError as error:
        if error.errno in RESOURCES:
            raise
        problem = f"{'no such file' if isinstance(error, FileNotFoundError) else error.strerror}; {HINT}"
    raise UserError(f"{path}: {problem}")


def _problem(path: Path, status: os.stat_result) -> str | None:
    """Return why a file is not read; None if it is."""
    if stat.S_ISDIR(status.st_mode) and (path / "checkpoints").is_dir():
        return f"is a run; export it with python scripts/export.py {path}"
    if not stat.S_ISREG(status.st_mode):
        return f"is {'a folder' if stat.S_ISDIR(status.st_mode) else 'not a regular file'}; {HINT}"
    if status.st_size > MAX_BYTES:
        return f"is larger than 2 GiB, the limit of an ONNX file; {HINT}"
    return None
