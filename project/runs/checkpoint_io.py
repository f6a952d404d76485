"""Checkpoint files that are whole or not there, and that notice damage.

A file is written beside its target, flushed to the disk, and only then put in the target's place. At its end, as the
comment of the zip archive that `torch.save` writes, stands the SHA-256 of all that comes before: a zip's own checksums
cover neither its headers nor its padding.
"""

import os
import shutil
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.plugins import CheckpointIO

from project.runtime.errors import UserError
from project.runtime.files import sha256

TEMPORARY = ".unfinished"
COMMENT_BYTES = 32  # of a SHA-256


class VerifiedCheckpointIO(CheckpointIO):
    """Writes checkpoints atomically and durably, and reads none that is damaged or holds more than plain data."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        """Write a checkpoint; until all of it is on the disk, the file before it stays as it is.

        Raises:
            UserError: If the file cannot be written, as on a full disk.
        """
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(path.name + TEMPORARY)
        try:
            torch.save(checkpoint, temporary)
            seal(temporary)
            temporary.replace(path)
            sync_folder(path.parent)
        except (OSError, RuntimeError) as error:
            temporary.unlink(missing_ok=True)
            free = shutil.disk_usage(path.parent).free / 2**20
            reason = error.strerror if isinstance(error, OSError) else str(error).splitlines()[0]
            raise UserError(
                f"{path}: could not be written, with {free:.0f} MiB free on its disk ({reason}): "
                "what was saved before is intact; make room, and resume it"
            ) from error

    def load_checkpoint(
        self, path: str | Path, map_location: Any = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        """Read a checkpoint of plain data, whatever the caller or the environment would allow.

        Raises:
            UserError: If it is damaged.
        """
        verify(Path(path))
        return torch.load(path, map_location=map_location or "cpu", weights_only=True)

    def remove_checkpoint(self, path: str | Path) -> None:
        """Remove a file, if it is there."""
        Path(path).unlink(missing_ok=True)


def seal(path: Path) -> None:
    """Write the checksum of a zip archive into its comment, and bring the file to the disk."""
    with path.open("r+b") as file:
        digest = sha256(file, path.stat().st_size - 2)
        file.write(COMMENT_BYTES.to_bytes(2, "little") + digest)  # replaces the length of the comment, 0 so far
        file.flush()
        os.fsync(file.fileno())


def verify(path: Path) -> None:
    """Read a file to its end, and compare it with the checksum that stands there.

    Raises:
        UserError: If one bit of it is not as it was written, or it was not written by `VerifiedCheckpointIO`.
    """
    with path.open("rb") as file:
        length = os.fstat(file.fileno()).st_size - 2 - COMMENT_BYTES
        digest = sha256(file, length) if length > 0 else b""
        if file.read() != COMMENT_BYTES.to_bytes(2, "little") + digest:
            raise UserError(f"{path}: not a checkpoint of this project, or damaged: take another one of the run")


def sweep(folder: Path) -> None:
    """Remove what a process that was killed while it wrote has left; nobody else may be writing there."""
    for leftover in folder.glob(f"*{TEMPORARY}"):
        leftover.unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """Bring a folder's list of files to the disk, where the system can."""
    if os.name == "posix":
        number = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(number)
        finally:
            os.close(number)
