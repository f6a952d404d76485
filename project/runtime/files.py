"""Output files and folders: checks, and atomic writing."""

import errno
import glob
import hashlib
import os
import platform
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from project.runtime.errors import UserError


def check_output(path: Path, suffixes: Sequence[str], source: Path | None = None) -> None:
    """Check the path of an output file.

    Raises:
        UserError: If it has none of the suffixes, is a folder, is in no folder, or is the input file (`source`).
    """
    problems = {
        "is a folder; pass the name of a file": path.is_dir(),
        f"must end in {' or '.join(suffixes)}": path.suffix.lower() not in suffixes,
        f"no folder {path.parent}; create it, or pass another path": not path.parent.is_dir(),
        "is the input file; pass another name": source and path.exists() and source.exists() and path.samefile(source),
    }
    _refuse(path, problems)


def check_folder(path: Path, kind: str, mark: str, *others: str) -> None:
    """Check that a folder is new, empty, or already used for the same purpose (`kind`).

    A folder in use contains a file named `mark`. The files `others` may be written before it.

    Raises:
        UserError: If the path is a file, or the folder contains something else.
    """
    entries = path.iterdir() if path.is_dir() else ()
    names = {entry.name for entry in entries if not entry.name.startswith(".")}  # without locks and system files
    problems = {
        "is a file; pass a folder": path.exists() and not path.is_dir(),
        f"the folder contains something other than {kind}; pass one that is new or empty": (
            mark not in names and names - {*others}
        ),
    }
    _refuse(path, problems)


def _refuse(path: Path, problems: Mapping[str, object]) -> None:
    if problem := next((problem for problem, occurs in problems.items() if occurs), None):
        raise UserError(f"{path}: {problem}")


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Yield the path of a temporary file that replaces `path` at the end. After an error, `path` is unchanged.

    If earlier processes on this machine were killed while they wrote the same path, their temporary files are removed.
    """
    host = re.sub(r"\W", "", platform.node())[:16]
    for leftover in path.parent.glob(f".{host}-*.{glob.escape(path.name)}"):
        process = leftover.name.removeprefix(f".{host}-").removesuffix(f".{path.name}")
        if process.isdecimal() and not _is_running(int(process)):
            leftover.unlink(missing_ok=True)
    temporary = path.with_name(f".{host}-{os.getpid()}.{path.name}")
    try:
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        unnamed = error.filename is None and error.errno in (errno.ENOSPC, errno.EFBIG)
        if unnamed or error.filename == str(temporary):  # the user does not know its name
            error.filename = str(path)
        raise
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def atomic_folder(folder: Path) -> Iterator[Path]:
    """Yield a temporary folder that becomes `folder` at the end; after an error, `folder` does not exist.

    Only one process may write the same folder at a time.
    """
    partial = folder.with_suffix(".partial")
    shutil.rmtree(partial, ignore_errors=True)  # left by a process that was killed
    partial.mkdir(parents=True)
    try:
        yield partial
        for path in partial.iterdir():
            with path.open("rb+") as file:
                os.fsync(file.fileno())
        partial.replace(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _is_running(process: int) -> bool:
    if os.name != "posix":
        return True
    try:
        os.kill(process, 0)  # signal 0 only checks whether the process exists
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):  # the process belongs to another user
        pass
    return True


def sha256(file: BinaryIO, length: int) -> bytes:
    """Read the next `length` bytes of a file, or all that are left, and return their SHA-256."""
    digest = hashlib.sha256()
    while block := file.read(min(length, 2**20)):
        digest.update(block)
        length -= len(block)
    return digest.digest()
