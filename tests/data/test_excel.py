"""The first sheet of a workbook is a table like any other."""

import datetime
import sys
from pathlib import Path

import openpyxl
import pyarrow as pa
import pyarrow.parquet
import pytest
import torch

from project.data import TabularDataModule
from project.data.table import read_table
from project.inference.predict import predict
from project.runtime.errors import UserError
from project.training.train import train

HEADER = ["rooms", "kind", "sold", "garden", "price"]
ROWS = [
    [n % 8 + 1, "house" if n % 3 else None, datetime.date(2020, n % 12 + 1, 3), bool(n % 2), 50.0 * n + 0.5]
    for n in range(60)
]


def write(path, rows=ROWS, others=()):
    book = openpyxl.Workbook()
    for row in [HEADER, *rows]:
        book.active.append(row)
    for name in others:
        book.create_sheet(name)
    book.save(path)
    return path


def test_cells_keep_their_types(folder):
    write(folder / "t.xlsx")
    table = read_table(folder / "t.xlsx", HEADER)
    assert table.to_pylist() == [dict(zip(HEADER, row, strict=True)) for row in ROWS]
    assert table.schema.types[0] == pa.int64()


def test_rows_are_those_of_the_same_table_in_parquet(folder):
    pyarrow.parquet.write_table(read_table(write(folder / "t.xlsx"), HEADER), folder / "t.parquet")
    one, other = (TabularDataModule(str(folder / name), "price").splits for name in ("t.xlsx", "t.parquet"))
    assert all(torch.equal(a.x, b.x) and torch.equal(a.y, b.y) for a, b in zip(one, other, strict=True))


def test_a_run_predicts_for_a_workbook(folder):
    write(folder / "t.xlsx")
    train(
        ["--data", "TabularDataModule", "--data.path", "t.xlsx", "--data.target", "price", "--trainer.max_epochs", "1"]
    )
    assert predict("last", Path("t.xlsx"), Path("out.csv")) == len(ROWS)
    assert Path("out.csv").read_text().splitlines()[1].startswith("1,,2020-01-03,false,0.5,")


def test_a_column_of_several_types_is_text(folder):
    write(folder / "t.xlsx", [[1, "a", None, True, 1.5], [2.0, 3, None, False, "many"]])
    table = read_table(folder / "t.xlsx", ["kind", "price"])
    assert table.to_pylist() == [{"kind": "a", "price": "1.5"}, {"kind": "3", "price": "many"}]


def test_other_sheets_are_mentioned(folder):
    write(folder / "t.xlsx", others=["notes"])
    with pytest.warns(UserWarning, match="has 2 sheets; only the first, 'Sheet', is read"):
        read_table(folder / "t.xlsx", HEADER)


def test_a_workbook_that_has_changed_is_read_again(folder):
    path = write(folder / "t.xlsx")
    assert len(read_table(path, ["rooms"])) == 60
    write(path, ROWS[:10])
    assert len(read_table(path, ["rooms"])) == 10


def test_what_cannot_be_read_is_one_line(folder, monkeypatch):
    (folder / "bad.xlsx").write_text("rooms,price\n")
    with pytest.raises(UserError, match=r"^bad.xlsx: Cannot detect file format$"):
        TabularDataModule("bad.xlsx", "price")
    monkeypatch.setitem(sys.modules, "python_calamine", None)
    write(folder / "t.xlsx")
    with pytest.raises(UserError, match=r"t.xlsx: a workbook needs .* pip install -e \"\.\[excel\]\""):
        TabularDataModule("t.xlsx", "price")
