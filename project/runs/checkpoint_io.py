"""Atomic checkpoint files with a checksum.

A checkpoint is written to a temporary file in the same folder and flushed to disk, and then replaces its target. The
comment of the zip archive that `torch.save` writes holds the SHA-256 of everything before it: the checksums of a zip
archive cover neither its headers nor its padding.
"""

import errno
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
    """Writes checkpoints atomically and durably, and refuses to read damaged ones or other than plain data."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        """Write a checkpoint; the previous file is unchanged until all of the new one is on disk."""
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(path.name + TEMPORARY)
        try:
            torch.save(checkpoint, temporary)
            seal(temporary)
            temporary.replace(path)
            _sync_folder(path.parent)
        except (OSError, RuntimeError) as error:
            temporary.unlink(missing_ok=True)
            free = shutil.disk_usage(path.parent).free / 2**20
            # Torch's writer reports what the system refused as a RuntimeError.
            refused = error if isinstance(error, OSError) else OSError(errno.ENOSPC, str(error).splitlines()[0])
            raise UserError(
                f"{path}: could not be written, with {free:.0f} MiB free on its disk ({refused.strerror}); "
                "earlier checkpoints are intact: free some space, then resume"
            ) from refused

    def load_checkpoint(
        self, path: str | Path, map_location: Any = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        """Read a checkpoint of plain data, whatever `weights_only` the caller or the environment sets."""
        verify(Path(path))
        return torch.load(path, map_location=map_location or "cpu", weights_only=True)

    def remove_checkpoint(self, path: str | Path) -> None:
        """Remove a file, if it is there."""
        Path(path).unlink(missing_ok=True)


def seal(path: Path) -> None:
    """Write the checksum of a zip archive into its comment, and flush the file to disk."""
    with path.open("r+b") as file:
        digest = sha256(file, path.stat().st_size - 2)
        file.write(COMMENT_BYTES.to_bytes(2, "little") + digest)  # replaces the length of the comment, 0 so far
        file.flush()
        os.fsync(file.fileno())


def verify(path: Path) -> None:
    """Raise a UserError if a single bit of a file has changed, or `VerifiedCheckpointIO` did not write it."""
    with path.open("rb") as file:
        length = path.stat().st_size - 2 - COMMENT_BYTES
        digest = sha256(file, length) if length > 0 else b""
        if file.read() != COMMENT_BYTES.to_bytes(2, "little") + digest:
            raise UserError(
                f"{path}: not a checkpoint of this project, or a damaged one; use another checkpoint of the run"
            )


def sweep(folder: Path) -> None:
    """Remove the temporary files of a process that was killed while writing; no other process may be writing there."""
    for leftover in folder.glob(f"*{TEMPORARY}"):
        leftover.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    """Flush a folder's list of files to disk, if the operating system can."""
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
