"""The format of a CSV file, given by flags or inferred from its first lines."""

import codecs
import csv
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

from project.data.location import csv_parts
from project.runtime.errors import UserError

SAMPLE_BYTES, SAMPLE_LINES = 2**16, 50
SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}
BYTE_ORDER_MARKS = {b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}
# The first encoding that decodes the sample is used, by the name on the right. GB 18030 extends GB 2312.
ENCODINGS = {"utf8": "utf8", "gb2312": "gb18030"}
# Numbers whose decimal mark is certain. In 1,234 and 1.234, the mark may also separate thousands.
DECIMAL_COMMA = re.compile(r"\s*[-+]?(\d*,(\d{1,2}|\d{4,})|0,\d+|\d{4,},\d+|\d{1,3}(\.\d{3})+,\d+)\s*")
DECIMAL_POINT = re.compile(r"\s*[-+]?(\d*\.(\d{1,2}|\d{4,})|0\.\d+|\d{4,}\.\d+|\d{1,3}(,\d{3})+\.\d+)\s*")
EITHER = re.compile(r"\s*[-+]?\d{1,3}[.,]\d{3}\s*")


@dataclass(frozen=True)
class CSVFormat:
    """The format of CSV files. By default it is inferred from the first lines of each file.

    Args:
        separator: Separator of the values, such as `;`.
        decimal: Decimal mark of numbers: a point, or a comma as in `1.234,50`.
        encoding: Encoding of the text, such as `gb18030`, `shift-jis` or `latin-2`.
    """

    separator: str | None = None
    decimal: Literal[".", ","] | None = None
    encoding: str | None = None

    def __post_init__(self) -> None:
        if self.separator is not None and len(self.separator) != 1:
            raise UserError(f"--data.csv.separator: must be one character, got {self.separator!r}")
        try:
            codecs.lookup(self.encoding or "utf8")
        except LookupError as error:
            raise UserError(f"--data.csv.encoding: {error}; use one that Python knows, such as gb18030") from None


GUESSED = CSVFormat()


class Found(NamedTuple):
    """The format that was found for a CSV file.

    Attributes:
        separator: Separator of the values.
        decimal: Decimal point or comma.
        encoding: Encoding of the text.
        skipped: Number of lines above the header.
        names: Names of the columns if the header has spaces around them, otherwise None.
    """

    separator: str
    decimal: str
    encoding: str
    skipped: int
    names: list[str] | None


def find_format(path: str | Path, given: CSVFormat = GUESSED) -> Found:
    """Return the format of a CSV file, or of the first CSV file in a folder."""
    system, inner = csv_parts(path)[0]
    with system.open_input_stream(inner) as stream:
        sample = stream.read(SAMPLE_BYTES)
    encoding = given.encoding or BYTE_ORDER_MARKS.get(sample[:2]) or _encoding(sample)
    lines = sample.decode(encoding, "ignore").removeprefix("\ufeff").splitlines()[:SAMPLE_LINES]
    named = re.fullmatch(r"sep=(.)", lines[0], re.IGNORECASE) if lines else None  # a line that Excel reads and writes
    skipped = 1 if named else _comments(lines)
    lines = lines[skipped:]
    separator = given.separator or (named[1] if named else _separator(lines))
    header = next(csv.reader(lines, delimiter=separator, skipinitialspace=True), [])
    raw = next(csv.reader(lines, delimiter=separator), [])
    names = [name.strip() for name in header]
    decimal = given.decimal or _decimal(lines, separator)
    return Found(separator, decimal, encoding, skipped, None if names == raw else names)


def _encoding(sample: bytes) -> str:
    """Return the first of `ENCODINGS` that decodes all complete lines of a sample; cp1252 if there is none."""
    if len(sample) == SAMPLE_BYTES:
        sample = sample[: sample.rfind(b"\n") + 1]
    for encoding, name in ENCODINGS.items():
        try:
            sample.decode(encoding)
        except UnicodeDecodeError:
            continue
        return name
    return "cp1252"


def _comments(lines: Sequence[str]) -> int:
    """Return the number of comment lines, which start with #, above the header."""
    count = next((number for number, line in enumerate(lines) if not line.startswith("#")), 0)
    separator = _separator(lines[count:])
    is_header = count and lines[count - 1].count(separator) == lines[count].count(separator)
    return count - bool(is_header)


def _separator(lines: Sequence[str]) -> str:
    """Return the separator with which most lines have as many cells as the header; if there is none, the comma."""

    def consistent_lines(separator: str) -> int:
        sizes = [len(row) for row in csv.reader(lines, delimiter=separator) if row]
        return sum(size == sizes[0] for size in sizes) if sizes and sizes[0] > 1 else 0

    return max(SEPARATORS, key=consistent_lines)


def _decimal(lines: Sequence[str], separator: str) -> str:
    cells = [cell for row in csv.reader(lines[1:], delimiter=separator) for cell in row]
    commas, points, either = (
        [cell for cell in cells if form.fullmatch(cell)] for form in (DECIMAL_COMMA, DECIMAL_POINT, EITHER)
    )
    if not commas and not points and separator != ",":  # most programs that write semicolons also write decimal commas
        commas = [cell for cell in either if "," in cell]
        points = [cell for cell in either if "." in cell]
    return "," if len(commas) > len(points) else "."
