import csv

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest
import torch

from project.cli import train
from project.errors import UserError
from project.lifecycle import predict as module
from project.lifecycle.predict import predict
from project.run import find_checkpoint, load_model, read_checkpoint
from tests.conftest import run_script


@pytest.fixture
def run(folder, table, capsys):
    train(
        ["--data", "TabularDataModule", "--data.path", str(table()), "--data.target", "y", "--trainer.max_epochs", "20"]
    )
    return "lightning_logs/version_0"


def expected(run, rows):
    return load_model(read_checkpoint(find_checkpoint(run)))(torch.tensor(rows)).flatten().tolist()


def test_command_adds_a_column_and_changes_nothing_else(run, folder):
    text = 'id,b,name,a\n007,1,"Smith, J",2\n008,3.50,,-1e1\n'
    (folder / "in.csv").write_text(text)
    done = run_script(folder, "predict", run, "in.csv", "out.csv")
    assert (done.returncode, done.stdout) == (0, "2 rows written to out.csv\n")
    lines = (folder / "out.csv").read_text().splitlines()
    assert [line.rsplit(",", 1)[0] for line in lines] == text.splitlines()
    found = [float(row["y_predicted"]) for row in csv.DictReader(lines)]
    assert found == pytest.approx(expected(run, [[2.0, 1.0], [-10.0, 3.5]]), rel=1e-6)


def test_parquet_keeps_types_and_order_over_many_blocks(run, folder, monkeypatch):
    monkeypatch.setattr("project.data.table.BLOCK_ROWS", 1_000)
    a, b = torch.randn(2, 10_000)
    rows = pa.table({"a": a.numpy(), "b": b.double().numpy(), "id": range(10_000)})
    pyarrow.parquet.write_table(rows, "in.parquet")
    assert predict(run, folder / "in.parquet", folder / "out.parquet") == 10_000
    found = pyarrow.parquet.read_table("out.parquet")
    assert found.select(["a", "b", "id"]) == rows
    torch.testing.assert_close(
        torch.tensor(found["y_predicted"].to_pylist()), torch.tensor(expected(run, torch.stack([a, b], 1).tolist()))
    )


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a,c\n1,2\n", "in.csv: there is no column 'b'"),
        ("a,b\n1,2\n3,x\n", "in.csv: column 'b', row 2: 'x' is not a number"),
        ("a,b\n1,2\n3,\n", "in.csv: column 'b', row 2: no value"),
        ("a,b\n1,2\n3,inf\n", "in.csv: column 'b', row 2: an infinite value"),
        ("a,b\n1,2\n3,4,5\n", "Row #3: Expected 2 columns, got 3"),
        ("a,b,y_predicted\n1,2,3\n", "already is a column 'y_predicted'"),
        ("", "the file is empty"),
    ],
)
def test_a_mistake_is_named_and_leaves_no_output(run, folder, text, told):
    (folder / "in.csv").write_text(text)
    with pytest.raises(UserError, match=told):
        predict(run, folder / "in.csv", folder / "out.csv")
    assert not [path for path in folder.iterdir() if "out.csv" in path.name]


def test_a_failure_midway_leaves_the_old_output(run, folder, monkeypatch):
    (folder / "in.csv").write_text("a,b\n1,2\n")
    (folder / "out.csv").write_text("old")
    monkeypatch.setattr(module, "numbers", lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        predict(run, folder / "in.csv", folder / "out.csv")
    assert (folder / "out.csv").read_text() == "old"


def test_gaps_are_met_as_in_training(folder, table, capsys):
    path = table(**{"5_2_": "5,,"})
    for missing in ("mean", "drop"):
        train(
            [
                "--data",
                "TabularDataModule",
                f"--data.path={path}",
                "--data.target",
                "y",
                "--data.missing",
                missing,
                "--trainer.max_epochs",
                "2",
            ]
        )
    (folder / "in.csv").write_text("a,b\n1,\n1,2\n")
    predict("lightning_logs/version_0", folder / "in.csv", folder / "mean.csv")
    predict("lightning_logs/version_1", folder / "in.csv", folder / "drop.csv")
    filled, dropped = (pyarrow.csv.read_csv(f"{name}.csv")["y_predicted"].to_pylist() for name in ("mean", "drop"))
    state = read_checkpoint(find_checkpoint("lightning_logs/version_0"))["state_dict"]
    assert filled[0] == pytest.approx(
        expected("lightning_logs/version_0", [[1.0, state["net.features.mean"][1].item()]])[0]
    )
    assert dropped[0] is None
    assert dropped[1] is not None
