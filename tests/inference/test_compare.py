"""Models side by side."""

import json
import shutil
import time
from contextlib import chdir

import pytest

from project.exporting.export import export
from project.inference import compare as module
from project.inference.compare import compare, latencies
from project.inference.compare_report import short_names
from project.inference.evaluate import evaluate
from project.training.train import train
from tests.command import run_script

SHORT = ["--epoch_line.every_n_epochs", "0", "--trainer.max_epochs", "1"]


RUN, OTHER, FILE = "lightning_logs/version_0", "lightning_logs/version_1", "lightning_logs/version_1/model.onnx"


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Two runs on the same rows, the second one's file, and a run on others."""
    with chdir(folder := tmp_path_factory.mktemp("models")):
        train(SHORT)
        train([*SHORT, "--model.net", "MLP"])
        export(OTHER)
        train([*SHORT, "--data.seed", "1"])
    return folder


@pytest.fixture(autouse=True)
def models(trained, monkeypatch):
    monkeypatch.chdir(trained)
    return trained


def test_each_model_stands_with_its_own_figures(models, monkeypatch):
    monkeypatch.setattr(module, "_start", lambda reference: 2.0 + len(reference))
    linear, mlp, file = compare([RUN, OTHER, FILE])
    assert [linear.name, mlp.name, file.name] == [RUN, OTHER, FILE]
    assert linear.metrics == evaluate(RUN)[0]
    assert mlp.metrics == evaluate(OTHER)[0] != linear.metrics
    assert file.metrics == pytest.approx(mlp.metrics, rel=1e-5)
    assert mlp.bytes == (models / OTHER / "checkpoints/best.ckpt").stat().st_size
    assert file.bytes == (models / FILE).stat().st_size < mlp.bytes
    assert all(model.milliseconds.keys() == {1, 64} for model in (linear, mlp, file))
    assert file.cold_start == 2.0 + len(FILE)


@pytest.mark.slow
def test_a_file_answers_from_a_cold_start_sooner_than_a_run(models, monkeypatch):
    monkeypatch.setattr(module, "COLD_STARTS", 1)
    file, mlp = compare([FILE, OTHER])
    assert 0 < file.cold_start < mlp.cold_start  # which imports torch


def test_times_are_those_of_the_calls_in_turn(monkeypatch):
    monkeypatch.setattr(module, "ROUNDS", 3)
    order = []

    def takes(name, seconds):
        return lambda x: order.append(name) or time.sleep(seconds)

    short, long = latencies([takes("short", 0.002), takes("long", 0.03)], [None, None])
    assert 2 <= short < 20
    assert 30 <= long < 120
    assert [name for at, name in enumerate(order) if order[at - 1] != name or at == 0] == ["short", "long"] * 3


@pytest.mark.slow
def test_the_command_prints_a_table_or_json_and_draws_a_picture(models):
    shutil.copy(FILE, "copy.onnx")
    done = run_script(models, "evaluate", "--compare", FILE, "copy.onnx", "--json", "--plot", "plot.svg")
    assert (done.returncode, done.stderr) == (0, "")
    first, second = json.loads(done.stdout)
    assert (first["model"], second["model"]) == (FILE, "copy.onnx")
    assert {"test/mse", "bytes", "milliseconds/1", "milliseconds/64", "seconds/first_answer"} <= second.keys()
    assert "copy.onnx" in (models / "plot.svg").read_text()


@pytest.mark.parametrize(
    ("args", "told"),
    [
        ([RUN, "none"], "none: no such run"),
        ([RUN, OTHER, "--plot", "plot.pdf"], "plot.pdf: must end in .png or .svg"),
        ([RUN, OTHER, "--data.rows", "0"], "--data.rows: must be an integer, 1 or more, got 0"),
        (["--data.rows", "50", RUN, OTHER], "pass the runs first, and flags after them"),
        ([RUN, "lightning_logs/version_2"], "lightning_logs/version_2: its test rows differ from"),
    ],
)
def test_a_mistake_is_told_in_one_line(models, args, told):
    done = run_script(models, "evaluate", "--compare", *args)
    assert (done.returncode, done.stdout) == (2, "")
    assert told in done.stderr
    assert done.stderr.count("\n") == 1


def test_names_leave_out_the_folder_that_all_share():
    def named(*names):
        return [module.Figures(name, {}, 0, {}, 0) for name in names]

    assert short_names(named("logs/version_0", "logs/version_1/model.onnx")) == ["version_0", "version_1/model.onnx"]
    assert short_names(named("last", "model.onnx")) == ["last", "model.onnx"]
