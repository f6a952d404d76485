"""Access to files at a local path, http(s)://, or any address that pyarrow supports (s3://, gs://, hdfs://)."""

import base64
import tempfile
from functools import cache
from http.client import HTTPException
from pathlib import Path
from typing import IO, Any
from urllib.parse import unquote, urlsplit, urlunsplit
from urllib.request import Request, urlopen

import pyarrow as pa
import pyarrow.fs

from project.data.excel import first_sheet, is_excel
from project.runtime.address import is_remote, local_path, with_credentials
from project.runtime.errors import UserError
from project.runtime.waiting import in_thread

PARQUET = b"PAR1"  # the first bytes of a Parquet file
COMPRESSED = (".gz", ".bz2", ".zst")
TIMEOUT = 30.0  # seconds to wait for the answer of another machine
DOWNLOADS: list[IO[bytes]] = []  # temporary files that are removed when the process ends


def locate(path: str | Path) -> tuple[pa.fs.FileSystem, str]:
    """Return the file system and the path of an address. A workbook is replaced by its first sheet as Parquet."""
    system, inner = _locate(path)
    if is_excel(inner) and (found := system.get_file_info(inner)).is_file:
        return pa.fs.LocalFileSystem(), first_sheet(system, found)
    return system, inner


def _locate(path: str | Path) -> tuple[pa.fs.FileSystem, str]:
    address = str(path)
    if not is_remote(address):
        return pa.fs.LocalFileSystem(), str(local_path(address))
    address = with_credentials(address)
    if address.lower().startswith(("http://", "https://")):
        return pa.fs.LocalFileSystem(), _download(address)
    return _remote(address)


@cache
def _remote(address: str) -> tuple[pa.fs.FileSystem, str]:
    system, inner = in_thread(lambda: pa.fs.FileSystem.from_uri(address), TIMEOUT)
    if isinstance(system, pa.fs.S3FileSystem):  # its default is to retry for minutes if a server does not answer
        options: dict[str, Any] = system.__reduce__()[1][0]
        unset = ("connect_timeout", "request_timeout", "proxy_options")
        chosen = {name: value for name, value in options.items() if value and name not in unset}
        system = pa.fs.S3FileSystem(**chosen, retry_strategy=pa.fs.AwsStandardS3RetryStrategy(max_attempts=3))
    return system, inner


@cache
def _download(address: str) -> str:
    """Download a file to a temporary file, once, and return its path.

    A table is read several times, and most web servers cannot send parts of a file.
    """
    parts = urlsplit(address)
    request = Request(urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2])))
    if "@" in parts.netloc:
        login = f"{unquote(parts.username or '')}:{unquote(parts.password or '')}".encode()
        request.add_unredirected_header("Authorization", f"Basic {base64.b64encode(login).decode()}")
    file = tempfile.NamedTemporaryFile(suffix=Path(parts.path).suffix)  # noqa: SIM115

    def copy() -> None:
        with urlopen(request, timeout=TIMEOUT) as answer:
            while block := answer.read(2**20):
                file.write(block)
            if answer.length:  # the connection ended early
                raise HTTPException(f"the server sent {answer.length} bytes less than announced")
        file.flush()

    try:
        in_thread(copy)
    except HTTPException as error:
        raise OSError(str(error)) from error
    DOWNLOADS.append(file)
    return file.name


def check_readable(path: str | Path) -> None:
    """Check that a path is a folder, or a file that is not empty.

    Raises:
        UserError: If it is not, or cannot be reached.
    """
    try:
        system, inner = locate(path)
        if is_remote(path):
            found = in_thread(lambda: system.get_file_info(inner), TIMEOUT)
        else:
            found = system.get_file_info(inner)
    except UserError:
        raise
    except (pa.ArrowException, OSError, ValueError) as error:
        raise UserError(f"{path}: {str(error).splitlines()[0]}") from error
    problems = {
        "the name is empty": not str(path),  # Path("") would be the working folder
        "no such file or folder": found.type == pa.fs.FileType.NotFound,
        "not a regular file; a table is read several times": found.type == pa.fs.FileType.Unknown,
        "the file is empty": found.is_file and found.size == 0,
    }
    if problem := next((problem for problem, occurs in problems.items() if occurs), None):
        raise UserError(f"{str(path) or '--data.path'}: {problem}")


def csv_parts(path: str | Path) -> list[tuple[pa.fs.FileSystem, str]]:
    """Return the file system and the path of a CSV file, or of all CSV files in a folder, sorted by name."""
    system, inner = locate(path)
    if system.get_file_info(inner).type != pa.fs.FileType.Directory:
        return [(system, inner)]
    files = system.get_file_info(pa.fs.FileSelector(inner))
    names = sorted(file.path for file in files if file.is_file and suffix(file.path) in (".csv", ".tsv", ".txt"))
    return [(system, name) for name in names]


def suffix(path: str) -> str:
    """Return the suffix of a path in lower case, without that of a compression: `.csv` for `TABLE.CSV.GZ`."""
    name = path.lower()
    for ending in COMPRESSED:
        name = name.removesuffix(ending)
    return Path(name).suffix


def is_parquet(path: str | Path) -> bool:
    """Whether a path is Parquet, by its suffix or content, or a folder without CSV files."""
    address = str(path)
    if Path(urlsplit(address).path if is_remote(address) else address).suffix.lower() in (".parquet", ".pq"):
        return True
    system, inner = locate(path)
    found = system.get_file_info(inner)
    if found.type == pa.fs.FileType.Directory:
        return not csv_parts(path)
    if not found.is_file:
        return False
    with system.open_input_stream(inner, compression=None) as stream:
        return stream.read(len(PARQUET)) == PARQUET
