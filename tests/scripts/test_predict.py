import csv
from contextlib import chdir

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest
import torch

from project.inference import predict as module
from project.inference.predict import predict
from project.runs.checkpoint import load_model, read_checkpoint
from project.runs.folder import find_checkpoint
from project.runtime.errors import UserError
from project.training.train import train
from tests.command import run_script

SHORT = ["--trainer.max_epochs", "2"]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    rows = ((i, i * 7 % 11) for i in range(40))
    (folder / "table.csv").write_text("a,b,y\n" + "".join(f"{a},{b},{3 * a - 2 * b + 1}\n" for a, b in rows))
    with chdir(folder):
        train(["--data", "TabularDataModule", "--data.path", "table.csv", "--data.target", "y", *SHORT[:1], "20"])
    return str(folder / "lightning_logs/version_0")


def expected(run, rows):
    return load_model(read_checkpoint(find_checkpoint(run)))(torch.tensor(rows)).flatten().tolist()


def test_the_command_adds_a_column_and_keeps_all_others(run, folder):
    text = 'id,b,name,a\n007,1,"Smith, J",2\n008,3.50,,-1e1\n'
    (folder / "in.csv").write_text(text)
    done = run_script(folder, "predict", run, "in.csv", "out.csv")
    assert (done.returncode, done.stdout) == (0, "2 rows written to out.csv\n")
    lines = (folder / "out.csv").read_text().splitlines()
    assert [line.rsplit(",", 1)[0] for line in lines] == text.splitlines()
    found = [float(row["y_predicted"]) for row in csv.DictReader(lines)]
    assert found == pytest.approx(expected(run, [[2.0, 1.0], [-10.0, 3.5]]), rel=1e-6)


def test_parquet_keeps_types_and_order_across_blocks(run, folder, monkeypatch):
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


def test_missing_values_get_the_training_mean_without_standardisation_too(folder, capsys):
    (folder / "t.csv").write_text("a,y\n" + "".join(f"{'' if i % 7 == 0 else 50 + i % 5},{i % 5}\n" for i in range(80)))
    flags = ["--data", "TabularDataModule", "--data.path", "t.csv", "--data.target", "y", "--data.missing", "mean"]
    train([*flags, "--model.standardize", "false", "--optimizer", "Adam", *SHORT])
    (folder / "in.csv").write_text("a\nNA\n0\n52\n")
    predict("last", folder / "in.csv", folder / "out.csv")
    gap, zero, middle = pyarrow.csv.read_csv("out.csv")["y_predicted"].to_pylist()
    assert abs(gap - middle) < 0.1 * abs(gap - zero)


def test_csv_converted_to_parquet_keeps_the_spelling_of_other_columns(run, folder):
    rows = "".join(f"{i:06d},1,2\n" for i in range(200_000)) + "X9,1.5,2\n"
    (folder / "in.csv").write_text("id,a,b\n" + rows)
    assert predict(run, folder / "in.csv", folder / "out.parquet") == 200_001
    ids = pyarrow.parquet.read_table("out.parquet")["id"]
    assert [ids[0].as_py(), ids[-1].as_py()] == ["000000", "X9"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,c\n1,2\n", "in.csv: no column 'b'"),
        ("a,b\n1,2\n3,x\n", "in.csv: column 'b', row 2: 'x' is not a number"),
        ("a,b\n1,2\n3,inf\n", "in.csv: column 'b', row 2: inf is not a finite float32"),
        ("a,b\n1,2\n3,4,5\n", "Row #3: Expected 2 columns, got 3"),
        ("a,b,y_predicted\n1,2,3\n", "column 'y_predicted' already exists"),
        ("a,b\n1,2\n3,1e39\n", "in.csv: column 'b', row 2: 1e\\+39 is not a finite float32"),
        ("", "the file is empty"),
    ],
)
def test_a_mistake_is_reported_and_leaves_no_output(run, folder, text, message):
    (folder / "in.csv").write_text(text)
    with pytest.raises(UserError, match=message):
        predict(run, folder / "in.csv", folder / "out.csv")
    assert not [path for path in folder.iterdir() if "out.csv" in path.name]


def test_the_input_table_is_not_overwritten(run, folder):
    (folder / "in.csv").write_text("a,b\n1,2\n")
    (folder / "link.csv").symlink_to("in.csv")
    for name in ("in.csv", "link.csv"):
        with pytest.raises(UserError, match=f"{name}: is the input file; pass another name"):
            predict(run, folder / "in.csv", folder / name)
    assert (folder / "in.csv").read_text() == "a,b\n1,2\n"


@pytest.mark.slow
def test_predicted_classes_have_names_and_probabilities(folder, capsys):
    lines = [f"{i % 2 + 0.1 * (i % 5)},{'ja' if i % 2 else 'nein'}" for i in range(60)]
    (folder / "t.csv").write_text("\n".join(["a,answer", *lines]))
    flags = ["--data", "TabularDataModule", "--data.path", "t.csv", "--data.target", "answer"]
    train([*flags, "--data.task", "classification", "--model", "Classification", "--optimizer.lr", "0.5"])
    predict("last", folder / "t.csv", folder / "out.csv")
    found = list(csv.DictReader((folder / "out.csv").open()))
    assert [row["answer_predicted"] for row in found] == [row["answer"] for row in found]
    for row in found:
        ja, nein = float(row["answer_probability_ja"]), float(row["answer_probability_nein"])
        assert ja + nein == pytest.approx(1, abs=1e-5)
        assert (ja > nein) == (row["answer"] == "ja")


def test_a_series_is_forecast_from_every_complete_window_across_blocks(folder, capsys, monkeypatch):
    values = torch.randn(300)
    pyarrow.parquet.write_table(pa.table({"y": values.numpy()}), "s.parquet")
    train(
        ["--data", "SeriesDataModule", "--data.path", "s.parquet", "--data.window", "5", "--data.horizon", "2", *SHORT]
    )
    monkeypatch.setattr("project.data.table.BLOCK_ROWS", 7)
    predict("last", folder / "s.parquet", folder / "out.parquet")
    found = pyarrow.parquet.read_table("out.parquet")
    first, second = (found[f"y+{step}_predicted"].to_pylist() for step in (1, 2))
    assert first[:4] == second[:4] == [None] * 4
    model = load_model(read_checkpoint(find_checkpoint("last")))
    windows = torch.stack([values[end - 5 : end] for end in range(5, 301)])[:, :, None]
    torch.testing.assert_close(torch.tensor([first[4:], second[4:]]).T, model(windows).detach())


def test_a_failure_midway_keeps_the_old_output(run, folder, monkeypatch):
    (folder / "in.csv").write_text("a,b\n1,2\n")
    (folder / "out.csv").write_text("old")
    monkeypatch.setattr(module, "numbers", lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        predict(run, folder / "in.csv", folder / "out.csv")
    assert (folder / "out.csv").read_text() == "old"


def test_missing_values_are_handled_as_in_training(folder, table, capsys):
    path = table(**{"5_2_": "5,,"})
    for missing in ("mean", "drop", "error"):
        path = table() if missing == "error" else path  # without a gap
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
    with pytest.raises(UserError, match="in.csv: column 'b', row 1: missing value"):
        predict("lightning_logs/version_2", folder / "in.csv", folder / "error.csv")
    filled, dropped = (pyarrow.csv.read_csv(f"{name}.csv")["y_predicted"].to_pylist() for name in ("mean", "drop"))
    state = read_checkpoint(find_checkpoint("lightning_logs/version_0"))["state_dict"]
    assert filled[0] == pytest.approx(
        expected("lightning_logs/version_0", [[1.0, state["net.features.mean"][1].item()]])[0]
    )
    assert dropped[0] is None
    assert dropped[1] is not None
