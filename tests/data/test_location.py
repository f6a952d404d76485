"""One table trains, resumes, evaluates, predicts and exports from any address; no file holds its credentials."""

import os
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import Mock

import pyarrow as pa
import pytest

from project.data.table import column_names
from project.exporting.export import export
from project.inference.evaluate import evaluate
from project.inference.predict import predict
from project.pipeline.pipeline import StageResult
from project.pipeline.plan import make_plan
from project.pipeline.record import open_record, write_record
from project.runtime.errors import UserError
from project.sweep.settings import merge_settings
from project.sweep.study import create_study
from project.training.train import train
from tests.data.places import object_store, silent_server, upload, web_server

SHORT = ["--epoch_line.every_n_epochs", "0", "--trainer.max_epochs"]
TARGET = ["--data", "TabularDataModule", "--data.target", "y"]


@pytest.fixture(scope="module")
def bucket():
    with object_store() as options:
        yield options


def address_of(kind, path, bucket, web):
    return {
        "path": str(path),
        "relative": os.path.relpath(path),
        "file": f"file://{str(path).replace(' ', '%20')}",
        "home": f"~/{path.name}",
        "variable": f"$HOME/{path.name}",
        "s3": upload(path, bucket),
        "http": f"{web}/{path.name}?token=SECRET",
    }[kind]


SLOW = [pytest.param(kind, marks=pytest.mark.slow) for kind in ("path", "relative", "home", "file", "variable", "http")]


@pytest.mark.parametrize("kind", ["s3", *SLOW])
def test_every_command_reads_a_table_from_its_address(folder, table, bucket, monkeypatch, capsys, kind):
    monkeypatch.setenv("HOME", str(folder))
    path = table(rows=100)
    with web_server(folder) as web:
        address = address_of(kind, path, bucket, web)
        train([*TARGET, "--data.path", address, *SHORT, "1"])
        metrics = train(["--ckpt_path", "last", *SHORT, "2"])
        assert evaluate("last")[0]["test/mse"] == metrics["test/mse"]
        assert evaluate("last", ["--data.path", str(path)])[0]["test/mse"] == metrics["test/mse"]
        assert predict("last", address, folder / "out.csv") == 100
        export("last", folder / "model.onnx")
        assert evaluate("model.onnx")[0]["test/mse"] == pytest.approx(metrics["test/mse"], rel=1e-5)
        assert not any(
            name.startswith(("s3:", "file:", "http:", "~", "$")) for name in (path.name for path in Path().iterdir())
        )
    for file in filter(Path.is_file, folder.rglob("*")):
        assert b"SECRET" not in file.read_bytes(), file
    assert "SECRET" not in "".join(capsys.readouterr())


def test_a_run_whose_address_had_credentials_is_resumed_with_the_same_address(folder, table, bucket):
    address = upload(table(rows=100), bucket)
    train([*TARGET, "--data.path", address, *SHORT, "1"])
    train(["--ckpt_path", "last", "--data.path", address, *SHORT, "2"])
    other = address.replace("KEY:SECRET", "OTHER:TOO")
    train(["--ckpt_path", "last", "--data.path", other, *SHORT, "3"])


@pytest.mark.parametrize("name", ["missing.csv", "missing.parquet"])
@pytest.mark.parametrize("kind", ["s3", "http"])
def test_a_missing_remote_table_is_one_line_without_credentials(folder, table, bucket, kind, name):
    with web_server(folder) as web:
        address = address_of(kind, table(), bucket, web).replace("table.csv", name)
        with pytest.raises(UserError, match=rf"{name}.*(no such file|404)") as raised:
            column_names(address)
    assert "SECRET" not in str(raised.value)


@pytest.mark.parametrize("address", ["s3://KEY:SECRET@bucket/t.csv?scheme=http&region=x&endpoint_override=", "http://"])
def test_a_silent_server_is_given_up(monkeypatch, address):
    monkeypatch.setattr("project.data.location.TIMEOUT", 0.5)
    with silent_server() as place, pytest.raises(UserError, match=r"no answer within 0|timed out"):
        column_names(address + place + ("" if address.startswith("s3") else "/t.csv"))


def test_a_table_that_is_no_file_is_refused(folder):
    os.mkfifo("pipe.csv")
    for path in ("pipe.csv", "/dev/null"):
        with pytest.raises(UserError, match=f"{path}: not a regular file"):
            column_names(path)


def test_an_unknown_kind_of_address_is_one_line(folder):
    with pytest.raises(UserError, match="nope://bucket/t.csv: Unrecognized filesystem type"):
        column_names("nope://me:SECRET@bucket/t.csv")


def test_no_address_is_not_the_working_folder(folder, table):
    table(rows=10)
    with pytest.raises(UserError, match="--data.path: the name is empty"):
        column_names("")


def test_errors_of_every_file_system_are_one_line(monkeypatch):
    """Azure's is an ArrowException that is neither an OSError nor a ValueError."""
    system = SimpleNamespace(get_file_info=Mock(side_effect=pa.ArrowException("no token\nsee")))
    monkeypatch.setattr("project.data.location._remote", lambda _: (system, "c/t.csv"))
    with pytest.raises(UserError, match=r"abfs://c@a/t.csv: no token$"):
        column_names("abfs://c@a/t.csv")


@pytest.mark.slow
def test_a_run_that_was_moved_finds_its_table(folder, table, capsys):
    (folder / "a/data").mkdir(parents=True)
    table(rows=100).rename(folder / "a/data/table.csv")
    os.chdir("a")
    expected = train([*TARGET, "--data.path", "data/table.csv", *SHORT, "1"])["test/mse"]
    Path("lightning_logs/version_0").rename(folder / "run")  # alone: the table is where it was
    assert evaluate("../run")[0]["test/mse"] == expected
    assert evaluate(f"file://{folder}/run")[0]["test/mse"] == expected
    (folder / "run").rename("lightning_logs/version_0")
    os.chdir("..")
    Path("a").rename("b")  # with the table
    assert evaluate("b/lightning_logs/version_0")[0]["test/mse"] == expected
    assert f"a/data/table.csv is missing; reading {folder}/b/data/table.csv" in capsys.readouterr().err
    train(["--ckpt_path", "b/lightning_logs/version_0", *SHORT, "2"])
    export("b/lightning_logs/version_0", folder / "model.onnx")


@pytest.mark.slow
def test_sweeps_and_life_cycles_store_no_credentials(folder, table, bucket):
    address = upload(table(rows=100), bucket)
    data = [*TARGET, "--data.path", address, *SHORT, "1"]
    given = {"search": {"optimizer.lr": "log(0.001, 0.1)"}, "args": data, "trust": []}
    settings = merge_settings(None, {}, given | dict.fromkeys(("metric", "direction", "pruner", "seed")))
    create_study(folder / "sweep", settings | {"direction": "minimize"}, trials=1)
    plan = make_plan("train", [*data, f"--train.data.test_path={address}"])
    with open_record(folder / "cycle", plan):
        write_record(folder / "cycle", plan, [StageResult("train", "1_train")])
        (folder / "cycle/1_train").mkdir()
    with open_record(folder / "cycle", plan) as (_, results):  # with the same flags it continues
        assert len(results) == 1
    for file in filter(Path.is_file, folder.rglob("*")):
        assert b"SECRET" not in file.read_bytes(), file
