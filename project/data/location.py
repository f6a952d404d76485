"""Where a table lies: a local path, or any address that pyarrow knows (file://, s3://, gs://, hdfs://)."""

from pathlib import Path

import pyarrow as pa
import pyarrow.fs

from project.runtime.errors import UserError


def locate(path: str | Path) -> tuple[pa.fs.FileSystem, str]:
    """The file system of an address, and the path within it.

    Raises:
        UserError: If there is no such file system.
    """
    if "://" not in str(path):
        return pa.fs.LocalFileSystem(), str(path)
    try:
        return pa.fs.FileSystem.from_uri(str(path))
    except (pa.ArrowInvalid, OSError) as error:
        raise UserError(f"{path}: {str(error).splitlines()[0]}") from error


def check_readable(path: str | Path) -> None:
    """Raise a UserError unless a path is a file with something in it, or a folder."""
    system, inner = locate(path)
    try:
        found = system.get_file_info(inner)
    except OSError as error:
        raise UserError(f"{path}: {str(error).splitlines()[0]}") from error
    if found.type == pa.fs.FileType.NotFound:
        raise UserError(f"{path}: no such file or folder")
    if found.is_file and found.size == 0:
        raise UserError(f"{path}: the file is empty")


def is_parquet(path: str | Path) -> bool:
    """Whether a path is read as Parquet: by its ending, or as a folder of Parquet files."""
    if Path(str(path)).suffix.lower() in (".parquet", ".pq"):
        return True
    system, inner = locate(path)
    return system.get_file_info(inner).type == pa.fs.FileType.Directory
