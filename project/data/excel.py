"""Conversion of Excel and OpenDocument sheets to temporary Parquet files."""

import tempfile
from collections.abc import Sequence
from typing import IO, Any

import pyarrow as pa
import pyarrow.fs
import pyarrow.parquet
from lightning.pytorch.utilities import rank_zero_warn

from project.runtime.errors import UserError

SUFFIXES = (".xlsx", ".xlsm", ".xlsb", ".xls", ".ods")
# Temporary files that are removed when the process ends, by path and modification time of the workbook.
CONVERTED: dict[tuple[str, int | None], IO[bytes]] = {}


def is_excel(path: str) -> bool:
    """Whether a path has the suffix of a workbook."""
    return path.lower().endswith(SUFFIXES)


def first_sheet(system: pa.fs.FileSystem, file: pa.fs.FileInfo) -> str:
    """Write the first sheet of a workbook to a temporary Parquet file, once, and return its path.

    Cells keep their types. A column with several types becomes text.

    Raises:
        UserError: If the workbook cannot be read, or the reader for it is not installed.
    """
    version = file.path, file.mtime_ns
    if version not in CONVERTED:
        CONVERTED[version] = _in_parquet(_rows(system, file.path))
    return CONVERTED[version].name


def _rows(system: pa.fs.FileSystem, path: str) -> list[list[Any]]:
    """Return the cells of the first sheet: numbers, text, booleans and dates; "" for empty cells."""
    try:
        from python_calamine import CalamineError, CalamineWorkbook
    except ModuleNotFoundError:
        fix = 'run pip install -e ".[excel]", or save the sheet as CSV'
        raise UserError(f"{path}: a workbook needs the package python-calamine; {fix}") from None
    with system.open_input_stream(path, compression=None) as stream, tempfile.TemporaryFile() as copy:
        while block := stream.read(2**20):
            copy.write(block)
        copy.seek(0)
        try:
            book = CalamineWorkbook.from_filelike(copy)
            rows = book.get_sheet_by_index(0).to_python(skip_empty_area=True)
        except CalamineError as error:
            raise UserError(f"{path}: {str(error).splitlines()[0]}") from error
    first, *others = book.sheet_names
    if others:
        rank_zero_warn(f"{path}: has {len(others) + 1} sheets; only the first, {first!r}, is read")
    return rows


def _in_parquet(rows: list[list[Any]]) -> IO[bytes]:
    header, *body = rows or [[]]
    cells: Sequence[Sequence[Any]] = [*zip(*body, strict=True)] if body else [()] * len(header)
    table = pa.Table.from_arrays([*map(_column, cells)], [str(name).strip() for name in header])
    file = tempfile.NamedTemporaryFile(suffix=".parquet")  # noqa: SIM115
    pyarrow.parquet.write_table(table, file.name)
    return file


def _column(cells: Sequence[Any]) -> pa.Array:
    """Return the values of a column, null for empty cells. Numbers become integers if all of them are whole."""
    values = [None if cell == "" else cell for cell in cells]
    kinds = {type(value) for value in values if value is not None}
    if kinds == {float} and all(value is None or value.is_integer() for value in values):
        return pa.array([None if value is None else int(value) for value in values])
    return pa.array(values if len(kinds) < 2 else [None if value is None else _text(value) for value in values])


def _text(value: Any) -> str:
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)
