"""CSV files as spreadsheets, databases and scripts write them hold the same table."""

import gzip
import random
import warnings

import pyarrow.csv
import pyarrow.parquet
import pytest
import torch

from project.data import TabularDataModule
from project.data.csv_format import CSVFormat
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
    "commented.csv": ("# by a device\n# at noon\n" + text()).encode(),
    "excel.csv": ("sep=;\n" + text(";", ",")).encode("utf-8-sig"),
    "commas.csv": text('","', ",").replace("\n", '"\n').replace("größe", '"größe').replace("\n", '\n"')[:-1].encode(),
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


GROUPED = {
    "us.csv": ("n,size,y\n", '"{:,}",{:.1f},"$ {:,.2f}"\n', {}),
    "eu.csv": ("n;size;y\n", "{:,};{:.1f};{:,.2f} €\n", {}),
    "eu_integers.csv": ("n;size;y\n", "{:,};{:.0f};{:,.0f}\n", {"decimal": ","}),
}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("name", GROUPED)
def test_groups_of_digits_and_units_are_read(folder, name, stream):
    header, line, given = GROUPED[name]
    rows = [(n * 7_001, n, 12_345_678.25 - n * 10_007) for n in range(1, 300)]
    written = [line.format(*row) for row in rows]
    if name != "us.csv":
        written = [row.translate(str.maketrans(",.", ".,")) for row in written]
    (folder / name).write_text(header + "".join(written), encoding="utf-8")
    data = TabularDataModule(name, "y", stream=stream, csv=CSVFormat(**given))
    x, y = (torch.cat([getattr(rows, part) for rows in data.splits]) for part in "xy")
    order = x[:, 1].argsort()
    ends = 0 if given else 2
    assert x[order].tolist() == [[n, size] for n, size, _ in rows]
    assert y[order, 0].tolist() == pytest.approx([round(value, ends) for *_, value in rows], rel=1e-7)


def test_flags_say_what_cannot_be_guessed(folder):
    (folder / "polish.csv").write_bytes(("miasto~y\n" + "Łódź~1\nKraków~2\n" * 9).encode("iso8859-2"))
    data = TabularDataModule("polish.csv", "y", csv=CSVFormat(separator="~", encoding="iso8859-2"))
    _ = data.splits
    assert data.schema.fields[0].level_names == ["miasto[Kraków]", "miasto[Łódź]"]
    (folder / "chinese.csv").write_bytes(("城市,y\n" + "北京,1\n上海,2\n" * 9).encode("gbk"))
    assert TabularDataModule("chinese.csv", "y").feature_names == ["城市"]
    for flags, message in [({"separator": ";;"}, "must be one character"), ({"encoding": "x"}, "unknown encoding: x")]:
        with pytest.raises(UserError, match=message):
            CSVFormat(**flags)


def test_nothing_is_told_of_a_plain_table_and_columns_named_alike_are_an_error(folder):
    rows = "".join(f"{name},{n}\n" for n, name in enumerate(["001", "002", "003", "4A"] * 5))
    (folder / "plain.csv").write_text("name,y\n" + rows)
    (folder / "twice.csv").write_text("name,name\na,1\nb,2\n")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        data = TabularDataModule("plain.csv", "y", kinds={"name": "category"})
    assert data.feature_names == ["name"]
    with pytest.raises(UserError, match="twice.csv: two columns are named 'name'"):
        TabularDataModule("twice.csv", "name")
    with pytest.raises(UserError, match="twice.csv: two columns are named 'name'"):
        _ = TabularDataModule("plain.csv", "y", test_path="twice.csv", kinds={"name": "category"}).splits


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
