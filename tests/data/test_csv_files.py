"""CSV files as spreadsheets, databases and scripts write them hold the same table."""

import gzip
import random

import pyarrow.csv
import pyarrow.parquet
import pytest

from project.data import TabularDataModule
from project.inference.predict import predict
from project.runtime.errors import UserError
from project.training.train import train

HEADER = ["größe", "Stadt", "y"]


def cells(rows=60):
    draw = random.Random(0)
    return [
        [f"{draw.gauss(3, 1):.3f}", draw.choice(["Köln", "Zürich"]), f"{draw.gauss(9, 1):.2f}"] for _ in range(rows)
    ]


def text(separator=",", decimal=".", space=""):
    lines = [[cell.replace(".", decimal) for cell in row] for row in cells()]
    return "".join((separator + space).join(row) + "\n" for row in [HEADER, *lines])


WRITTEN = {
    "plain.csv": text().encode(),
    "semicolons.csv": text(";", ",").encode(),
    "tabs.tsv": text("\t").encode(),
    "bars.txt": text("|").encode(),
    "windows.csv": text(";", ",").replace("\n", "\r\n").encode("cp1252"),
    "marked.csv": text().encode("utf-8-sig"),
    "utf16.csv": text("\t").encode("utf-16"),
    "spaces.csv": text(space=" ").encode(),
    "packed.csv.gz": gzip.compress(text().encode()),
    "quoted.csv": ",".join(f'"{name}"' for name in HEADER).encode() + text().encode()[text().encode().index(b"\n") :],
}


@pytest.fixture
def plain(folder):
    for name, content in WRITTEN.items():
        (folder / name).write_bytes(content)
    return TabularDataModule("plain.csv", "y")


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("name", WRITTEN)
def test_a_table_is_the_same_however_it_is_written(plain, name, stream):
    expected = TabularDataModule("plain.csv", "y", stream=stream)
    data = TabularDataModule(name, "y", stream=stream)
    assert data.feature_names == ["größe", "Stadt"]
    assert data.input_names == ["größe", "Stadt[Zürich]"]
    for one, other in zip(data.splits, expected.splits, strict=True):
        assert one.x.equal(other.x)
        assert one.y.equal(other.y)


def test_parquet_is_recognised_by_its_content_and_folders_by_their_files(plain, folder):
    table = pyarrow.csv.read_csv("plain.csv")
    pyarrow.parquet.write_table(table, "table.parq")
    (folder / "parts").mkdir()
    lines = text().splitlines(keepends=True)
    for part, chunk in enumerate((lines[1:20], lines[20:])):
        (folder / f"parts/{part}.csv").write_text(lines[0] + "".join(chunk))
    (folder / "parts/read me.md").write_text("not a table")
    for path in ("table.parq", "parts"):
        for stream in (False, True):
            expected = TabularDataModule("plain.csv", "y", stream=stream)
            found = TabularDataModule(path, "y", stream=stream).splits
            assert sorted(found.train.x[:, 0].tolist()) == pytest.approx(sorted(expected.splits.train.x[:, 0].tolist()))
    (folder / "parts/1.csv").write_text("a,b\n1,2\n")
    with pytest.raises(UserError, match=r"parts: 1.csv has the columns a, b, others größe, Stadt, y"):
        TabularDataModule("parts", "y")


def test_what_was_guessed_is_told(plain, folder):
    with pytest.warns(
        UserWarning, match="its values are separated by semicolons, its numbers have a decimal comma, its text"
    ):
        TabularDataModule("windows.csv", "y")


def test_predictions_read_decimal_commas_and_keep_them(plain, folder, capsys):
    train(
        ["--data", "TabularDataModule", "--data.path", "plain.csv", "--data.target", "y", "--trainer.max_epochs", "1"]
    )
    for name in ("plain.csv", "semicolons.csv", "windows.csv"):
        predict("last", folder / name, folder / f"out_{name}")
    plain, *others = (pyarrow.csv.read_csv(f"out_{name}") for name in ("plain.csv", "semicolons.csv", "windows.csv"))
    for other in others:
        assert other["y_predicted"].equals(plain["y_predicted"])
        assert other["größe"][0].as_py() == WRITTEN["semicolons.csv"].decode().splitlines()[1].split(";")[0]
