"""Where a table is stored: a local path, or any address that pyarrow knows (file://, s3://, gs://, hdfs://)."""

from pathlib import Path

import pyarrow as pa
import pyarrow.fs

from project.runtime.errors import UserError


def locate(path: str | Path) -> tuple[pa.fs.FileSystem, str]:
    """Return the file system of an address, and the path within it."""
    if "://" not in str(path):
        return pa.fs.LocalFileSystem(), str(path)
    return pa.fs.FileSystem.from_uri(str(path))


def check_readable(path: str | Path) -> None:
    """Raise a UserError unless a path is a folder, or a file that is not empty."""
    try:
        system, inner = locate(path)
        found = system.get_file_info(inner)
    except (pa.ArrowInvalid, OSError) as error:
        raise UserError(f"{path}: {str(error).splitlines()[0]}") from error
    if found.type == pa.fs.FileType.NotFound or (found.is_file and found.size == 0):
        raise UserError(f"{path}: {'the file is empty' if found.is_file else 'no such file or folder'}")


def is_parquet(path: str | Path) -> bool:
    """Whether a path is read as Parquet: by its suffix, or because it is a folder."""
    if Path(str(path)).suffix.lower() in (".parquet", ".pq"):
        return True
    system, inner = locate(path)
    return system.get_file_info(inner).type == pa.fs.FileType.Directory
