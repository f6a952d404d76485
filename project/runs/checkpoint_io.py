"""Atomic checkpoint files with a checksum.

A checkpoint is written to a temporary file in the same folder and flushed to disk, and then replaces its target. The
comment of the zip archive that `torch.save` writes contains the SHA-256 of everything before it, because the checksums
of a zip archive cover neither its headers nor its padding.
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
COMMENT_BYTES = 32  # length of a SHA-256


class VerifiedCheckpointIO(CheckpointIO):
    """Writes checkpoints atomically and durably. It reads only undamaged checkpoints of plain data."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        """Write a checkpoint. The previous file stays until the new one is completely on disk.

        Raises:
            UserError: If the file cannot be written, for example to a full disk.
        """
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
            # torch raises a RuntimeError if the system cannot write the file.
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
        """Remove a file if it exists."""
        Path(path).unlink(missing_ok=True)


def seal(path: Path) -> None:
    """Write the checksum of a zip archive into its comment, and flush the file to disk."""
    with path.open("r+b") as file:
        digest = sha256(file, path.stat().st_size - 2)
        file.write(COMMENT_BYTES.to_bytes(2, "little") + digest)  # overwrites the length of the comment, which is 0
        file.flush()
        os.fsync(file.fileno())


def verify(path: Path) -> None:
    """Check the checksum of a checkpoint.

    Raises:
        UserError: If any bit of the file has changed, or `VerifiedCheckpointIO` did not write it.
    """
    with path.open("rb") as file:
        length = path.stat().st_size - 2 - COMMENT_BYTES
        digest = sha256(file, length) if length > 0 else b""
        if file.read() != COMMENT_BYTES.to_bytes(2, "little") + digest:
            raise UserError(
                f"{path}: not a checkpoint of this project, or a damaged one; use another checkpoint of the run"
            )


def sweep(folder: Path) -> None:
    """Remove the temporary files of a process that was killed while writing.

    Call this only if no other process writes to the folder.
    """
    for leftover in folder.glob(f"*{TEMPORARY}"):
        leftover.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    """Flush the entries of a folder to disk if the operating system supports it."""
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
