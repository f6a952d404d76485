"""An exported file takes a run's place wherever a model is evaluated or predicts."""

import csv
import json
import shutil
from contextlib import chdir
from pathlib import Path

import numpy as np
import onnx
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest
import torch
import yaml

from project.exporting.export import export
from project.inference.evaluate import evaluate
from project.inference.predict import predict
from project.runtime.errors import UserError
from project.stages.ensemble import train_jointly
from project.training.train import train
from tests.command import run_script

SHORT = ["--epoch_line.every_n_epochs", "0", "--trainer.max_epochs", "2"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder with a run that knows classes, and its file."""
    folder = tmp_path_factory.mktemp("pets")
    lines = [f"{i % 2 + 0.1 * (i % 5)},{i % 3},{'cat' if i % 2 else 'dog'}" for i in range(60)]
    (folder / "pets.csv").write_text("\n".join(["a,b,species", *lines]))
    args = ["--data", "TabularDataModule", "--data.path", "pets.csv", "--data.target", "species"]
    with chdir(folder):
        train([*SHORT, *args, "--data.task", "classification", "--model", "Classification"])
        export("last", Path("model.onnx"))
    content = (folder / "model.onnx").read_bytes()
    for name, data in {"cut.onnx": content[:900], "text.onnx": b"hello", "model.pt2": b""}.items():
        (folder / name).write_bytes(data)
    return folder


@pytest.fixture
def pets(trained, monkeypatch):
    monkeypatch.chdir(trained)
    return trained


def assert_same_tables(one, other):
    one, other = (pyarrow.csv.read_csv(path) for path in (one, other))
    assert one.column_names == other.column_names
    for name, left, right in zip(one.column_names, one.columns, other.columns, strict=True):
        if pa.types.is_floating(left.type):
            assert left.null_count < len(left)
            np.testing.assert_allclose(left.to_numpy(), right.to_numpy(), rtol=1e-5, atol=1e-6)
        else:
            assert left == right, name


def test_evaluation_and_prediction_are_those_of_the_run(pets):
    metrics, rows = evaluate("model.onnx")
    assert rows == 12
    assert metrics == pytest.approx(evaluate("last")[0], rel=1e-5)
    assert evaluate("model.onnx", ["--data.test_path", "pets.csv"])[1] == 60
    predict("last", Path("pets.csv"), Path("of_run.csv"))
    predict("model.onnx", Path("pets.csv"), Path("of_file.csv"))
    assert_same_tables("of_run.csv", "of_file.csv")


def test_a_file_needs_its_run_no_longer(pets, folder):
    for name in ("model.onnx", "pets.csv"):
        shutil.copy(pets / name, folder)
    assert predict("model.onnx", Path("pets.csv"), Path("out.csv")) == 60
    metrics, rows = evaluate("model.onnx", ["--data.path", "pets.csv"])
    assert rows == 12
    assert metrics.keys() >= {"test/loss", "test/accuracy", "test/f1", "test/auc"}


@pytest.mark.slow
def test_a_series_with_windows_over_blocks_is_forecast_alike(folder, capsys, monkeypatch):
    pyarrow.parquet.write_table(pa.table({"y": torch.randn(90).numpy()}), "s.parquet")
    args = ["--data", "SeriesDataModule", "--data.path", "s.parquet", "--data.window", "5", "--data.horizon", "2"]
    train([*SHORT, *args, "--model.net", "RNN"])
    file = str(export("last").path)
    assert evaluate(file)[0] == pytest.approx(evaluate("last")[0], rel=1e-5)
    monkeypatch.setattr("project.data.table.BLOCK_ROWS", 7)
    predict("last", folder / "s.parquet", folder / "of_run.csv")
    predict(file, folder / "s.parquet", folder / "of_file.csv")
    assert_same_tables("of_run.csv", "of_file.csv")


@pytest.mark.slow
def test_an_ensemble_says_how_far_its_members_differ(folder, table, capsys):
    args = [*SHORT, "--data", "TabularDataModule", "--data.path", str(table()), "--data.target", "y"]
    train_jointly(2, False, [*args, "--model.net", "MLP", "--model.net.hidden", "[3]"])
    for name, model in (("of_run.csv", "last"), ("of_file.csv", str(export("last").path))):
        predict(model, folder / "table.csv", folder / name)
    assert_same_tables("of_run.csv", "of_file.csv")
    spread = pyarrow.csv.read_csv("of_run.csv")["y_spread"].to_pylist()
    assert len(set(spread)) > 30
    assert min(spread) > 0


@pytest.mark.slow
def test_gaps_leave_their_own_rows_empty_and_no_others(folder, table, capsys):
    path = table(**{"5_2_": "5,,"})
    args = ["--data", "TabularDataModule", f"--data.path={path}", "--data.target", "y", "--model.net", "MLP"]
    train([*SHORT, *args, "--data.missing", "drop"])
    file = str(export("last").path)
    (folder / "in.csv").write_text("a,b\n1,2\n1,\n3,4\n")
    predict("last", folder / "in.csv", folder / "of_run.csv")
    predict(file, folder / "in.csv", folder / "of_file.csv")
    assert_same_tables("of_run.csv", "of_file.csv")
    assert [row["y_predicted"] == "" for row in csv.DictReader((folder / "of_file.csv").open())] == [False, True, False]


@pytest.mark.parametrize(
    ("args", "told"),
    [
        (["evaluate", "none.onnx"], "none.onnx: no such file"),
        (["evaluate", "text.onnx"], "text.onnx: not an ONNX file, or damaged"),
        (["evaluate", "cut.onnx"], "cut.onnx: not an ONNX file, or damaged"),
        (["evaluate", "model.pt2"], "model.pt2: expected a run, got an exported file"),
        (
            ["evaluate", "model.onnx", "--data.features", "[a]"],
            "the data's feature_names are ['a'], but model.onnx was trained on ['a', 'b']",
        ),
        (["predict", "text.onnx", "pets.csv", "out.csv"], "text.onnx: not an ONNX file, or damaged"),
        (["predict", "model.onnx", "none.csv", "out.csv"], "none.csv: no such file"),
        (
            ["predict", "pets.csv", "model.onnx", "out.csv"],
            "model.onnx: a model, not a table; pass the model first: "
            "python scripts/predict.py model.onnx pets.csv out.csv\n",
        ),
        (["predict", "model.onnx", "pets.csv"], "missing output; type python scripts/predict.py run input output\n"),
        (
            ["predict", "model.onnx", "pets.csv", "out.csv", "--verbose"],
            "unknown argument --verbose; predict.py",
        ),
        (["evaluate", "version_0"], "version_0: no such run or checkpoint; did you mean lightning_logs/version_0?\n"),
        (["train", "--ckpt_path", "model.onnx"], "model.onnx: expected a run, got an exported file"),
    ],
)
def test_a_file_that_will_not_do_is_named(pets, args, told):
    done = run_script(pets, *args)
    assert (done.returncode, done.stdout) == (2, "")
    assert told in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (pets / "out.csv").exists()


def test_command_evaluates_a_file_as_a_run(pets):
    printed = [run_script(pets, "evaluate", model, "--json") for model in ("last", "model.onnx")]
    assert [done.stderr for done in printed] == ["", ""]
    assert json.loads(printed[0].stdout) == pytest.approx(json.loads(printed[1].stdout), rel=1e-5)


@pytest.mark.parametrize(
    ("config", "told"),
    [
        ("model: {class_path: subprocess.Popen, init_args: {args: [touch, evil]}}", "subprocess.Popen"),
        ("data: {class_path: subprocess.Popen, init_args: {args: [touch, evil]}}", "subprocess.Popen"),
        ("data: [1]", "its configuration is damaged"),
        ("model: {class_path: project.models.Regression}", "its configuration is damaged"),
        ("!!python/object/apply:os.system [touch evil]", "its configuration: not YAML"),
    ],
)
def test_a_configuration_in_a_file_runs_no_code(pets, config, told):
    model = onnx.load("model.onnx")
    described = json.loads(model.metadata_props[0].value)
    if ":" in config and not config.startswith("!"):
        config = yaml.safe_dump(yaml.safe_load(described["config"]) | yaml.safe_load(config))
    onnx.helper.set_model_props(model, {"hello_lightning": json.dumps(described | {"config": config})})
    onnx.save(model, "hostile.onnx")
    with pytest.raises(UserError, match=told):
        evaluate("hostile.onnx")
    assert not Path("evil").exists()
