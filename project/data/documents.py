"""Documents of text from files, folders, JSON lines, Parquet or a bundled corpus, read in pieces of bounded size."""

import hashlib
import io
import json
import re
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.fs
import pyarrow.parquet as pq

from project.data.location import PARQUET, check_readable, locate, suffix
from project.runtime.errors import UserError
from project.text.corpus import CORPORA, corpus, corpus_file

PIECE_BYTES = 2**20
SEARCHED_BYTES = 2**15  # bytes at the end of a piece in which to look for a place to cut it
LINES = (".jsonl", ".ndjson")
# Tokens never cross a line break between two printable characters (Latin or Chinese), so pieces that are cut there have
# the same tokens as the whole text.
SOLID = rb"[!-~]|[\xe4-\xe9\xef][\x80-\xbf]{2}|\xe3\x80[\x81-\xbf]"
SAFE_CUT = re.compile(rb"(?:" + SOLID + rb")\n(?=" + SOLID + rb")")


class Piece(NamedTuple):
    """Consecutive bytes of a document.

    Attributes:
        document: Index of the document; documents without text are not counted.
        data: The bytes.
    """

    document: int
    data: bytes


class Documents:
    """The documents at an address. Each iteration reads them again.

    A document is a text file, each file of a folder, a line of JSON lines, or a row of Parquet.

    Args:
        path: A file, a folder, an address, or the name of a bundled corpus.
        column: Name of the field with the text in JSON lines and Parquet.
    """

    def __init__(self, path: str, column: str = "text") -> None:
        self.path, self.column = path, column
        self.corpus = path if path in CORPORA else None
        address = str(corpus_file(path)) if self.corpus else path
        check_readable(address)
        self.system, inner = locate(address)
        self.files = [inner]
        if self.system.get_file_info(inner).type == pa.fs.FileType.Directory:
            found = self.system.get_file_info(pa.fs.FileSelector(inner, recursive=True))
            names = [(file.path, file.path[len(inner) :]) for file in found if file.is_file and file.size]
            self.files = sorted(name for name, relative in names if not re.search(r"/[._]", relative))
            if not self.files:
                raise UserError(f"{path}: no files with text in this folder")

    def fingerprint(self) -> str:
        """Return the SHA-256 of the files, their suffixes and the name of the column."""
        digest = hashlib.sha256(f"{self.corpus} {self.column}".encode())
        for file in self.files:
            with self.system.open_input_stream(file, compression=None) as stream:
                count = 0
                while block := stream.read(PIECE_BYTES):
                    digest.update(block)
                    count += len(block)
            digest.update(f"{suffix(file)} {count}".encode())
        return digest.hexdigest()

    def __iter__(self) -> Iterator[Piece]:
        number = 0
        for text in self._texts():
            document = number
            for data in text:
                yield Piece(document, data)
                number = document + 1

    def _texts(self) -> Iterator[Iterable[bytes]]:
        """Yield the pieces of each document."""
        if self.corpus:
            yield _pieces(iter([corpus(self.corpus)]))
            return
        for file in self.files:
            if suffix(file) in LINES:
                yield from (_pieces(iter([text])) for text in self._json_texts(file))
            elif self._is_parquet(file):
                yield from (_pieces(iter([text])) for text in self._parquet_texts(file))
            else:
                with self._open(file) as stream:
                    yield _pieces(iter(lambda: stream.read(PIECE_BYTES), b""))

    def _open(self, file: str) -> Any:
        try:
            return self.system.open_input_stream(file)
        except (pa.ArrowInvalid, ValueError) as error:
            raise UserError(f"{file}: {error}") from error

    def _json_texts(self, file: str) -> Iterator[bytes]:
        with self._open(file) as stream:
            for number, line in enumerate(io.BufferedReader(stream), 1):
                if not line.strip():
                    continue
                try:
                    text = json.loads(line)[self.column]
                except (ValueError, LookupError, TypeError) as error:
                    fix = "correct it, or name another field with --data.column"
                    problem = f"not a JSON object with the field {self.column!r}"
                    raise UserError(f"{file}: line {number}: {problem}; {fix}") from error
                yield _bytes(text, f"{file}: line {number}")

    def _is_parquet(self, file: str) -> bool:
        if suffix(file) in (".parquet", ".pq"):
            return True
        with self.system.open_input_stream(file, compression=None) as stream:
            return stream.read(len(PARQUET)) == PARQUET

    def _parquet_texts(self, file: str) -> Iterator[bytes]:
        try:
            with self.system.open_input_file(file) as stream:
                table = pq.ParquetFile(stream)
                if self.column not in (names := table.schema_arrow.names):
                    listed = ", ".join(names[:20])
                    raise UserError(f"{file}: no column {self.column!r}; choose one with --data.column: {listed}")
                row = 0
                for batch in table.iter_batches(batch_size=1_000, columns=[self.column]):
                    for text in batch[0].to_pylist():
                        row += 1
                        yield _bytes(text, f"{file}: row {row}")
        except pa.ArrowInvalid as error:
            raise UserError(f"{file}: {str(error).splitlines()[0]}") from error


def _bytes(text: Any, place: str) -> bytes:
    if text is None:
        return b""
    if isinstance(text, bytes):
        return text
    if not isinstance(text, str):
        raise UserError(f"{place}: the text is {type(text).__name__}; name a field of text with --data.column")
    return text.encode("utf-8", "surrogatepass")


def _pieces(blocks: Iterator[bytes]) -> Iterator[bytes]:
    """Regroup a document into pieces of about `PIECE_BYTES` that end where a token ends, or at least a character."""
    rest = b""
    for block in blocks:
        rest += block
        while len(rest) > PIECE_BYTES:
            cut = _cut(rest)
            yield rest[:cut]
            rest = rest[cut:]
    if rest:
        yield rest


def _cut(data: bytes) -> int:
    """Return the last position of a safe cut near the end of a piece; if there is none, the start of a character."""
    window = data[PIECE_BYTES - SEARCHED_BYTES : PIECE_BYTES + 1]
    ends = (match.end() for match in SAFE_CUT.finditer(window))
    cut = max(ends, default=SEARCHED_BYTES) + PIECE_BYTES - SEARCHED_BYTES
    return next((position for position in range(cut, cut - 4, -1) if data[position] & 0xC0 != 0x80), cut)
