"""`scripts/lifecycle.py` as a user runs it."""

import json
import os
import re
import shlex
import signal
import time
from pathlib import Path

import pytest

from tests.command import MAX_LENGTH, REPOSITORY, Command, run_script
from tests.scripts.test_stops import wait_for

STAGES = ["train", "ensemble", "distill", "prune", "export", "quantize", "serve", "evaluate"]
ARGS = ["--model.net", "MLP", "--model.net.hidden", "[8]", "--data.features", "3", "--optimizer", "Adam"]
ARGS += ["--trainer.max_epochs", "2", "--ensemble.members", "2"]
CHAIN = "lightning_logs/lifecycle_0"
# Prefixes of report fields that differ between runs: times, text about times, and sizes of files that contain paths.
VARIES = ("seconds", "milliseconds", "requests", "verdict", "gain", "times_", "bytes")


def report_of(folder, chain=CHAIN):
    return json.loads((folder / chain / "report.json").read_text())


def lasting(value):
    """Remove the fields of a report that differ between runs."""
    if isinstance(value, dict):
        return {key: lasting(part) for key, part in value.items() if not key.startswith(VARIES)}
    return [lasting(part) for part in value] if isinstance(value, list) else value


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The folder of a pipeline with all stages, and the finished command."""
    folder = tmp_path_factory.mktemp("lifecycle")
    done = run_script(folder, "lifecycle", *ARGS)
    assert done.returncode == 0, done.stderr
    return folder, done


def test_every_stage_writes_its_results_to_one_folder(whole):
    folder, done = whole
    assert done.stderr == ""
    names = [f"{number}_{stage}" for number, stage in enumerate(STAGES, start=1)]
    assert [path.name for path in (folder / "lightning_logs").iterdir()] == ["lifecycle_0"]
    for name in names[:4]:
        left = {path.name for path in (folder / CHAIN / name).iterdir()}
        assert {"checkpoints", "config.yaml", "metrics.json", "model.onnx"} <= left
    rows = report_of(folder)["rows"]
    assert [row["name"] for row in rows] == names
    assert [row["source"] for row in rows[:4]] == ["", "", "2_ensemble", "3_distill"]
    assert [row["parameters"] for row in rows[:4]] == [41, 82, 11, 6]
    assert re.findall(r"^\[(\d)/8\]", done.stdout, re.M) == list("12345678")
    assert "Epoch [" not in done.stdout


def test_the_report_agrees_with_evaluate_for_each_model(whole):
    folder, _ = whole
    for row in [row for row in report_of(folder)["rows"] if row["model"]]:
        done = run_script(folder, "evaluate", f"{CHAIN}/{row['model']}", "--json")
        assert json.loads(done.stdout)["test/mse"] == pytest.approx(row["metric"], rel=1e-5)
        low, high = row["interval"]
        assert low < row["metric"] < high


def test_the_html_report_is_self_contained_and_agrees_with_the_table(whole):
    folder, _ = whole
    page, table = ((folder / CHAIN / f"report.{kind}").read_text() for kind in ("html", "md"))
    assert not re.search(r"https?:|<script|<link|src=|href=(?!\"#)|url\((?!#)|@import", page)
    assert "prefers-color-scheme:dark" in page
    assert page.count("<svg") == 3
    for row in report_of(folder)["rows"]:
        assert row["command"] in table
        assert f"{row['seconds']:.1f}" in page
        if "bytes" in row:
            assert f"{row['bytes']:,}" in page
            assert f"| {row['bytes']:,} |" in table


def test_tensorboard_shows_the_table_next_to_the_curves(whole):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    folder, _ = whole
    events = EventAccumulator(str(folder / CHAIN)).Reload()
    [tag] = events.Tags()["tensors"]
    text = events.Tensors(tag)[-1].tensor_proto.string_val[0].decode()
    assert (folder / CHAIN / "report.md").read_text().startswith(text)


@pytest.mark.slow
def test_the_commands_in_the_report_reproduce_its_metrics(whole):
    folder, _ = whole
    rows = {row["stage"]: row for row in report_of(folder)["rows"]}
    for number, stage in enumerate(["train", "distill"]):
        python, script, *args = shlex.split(rows[stage]["command"])
        assert python == "python"
        done = run_script(folder, Path(script).stem, *args)
        assert done.returncode == 0, done.stderr
        found = json.loads((folder / f"lightning_logs/version_{number}/metrics.json").read_text())
        assert found["test/mse"] == pytest.approx(rows[stage]["metric"])


@pytest.mark.slow
def test_a_pipeline_killed_after_any_stage_and_resumed_has_the_same_report(whole, tmp_path):
    for count in range(len(STAGES)):
        args = ARGS if count == 0 else ["--folder", CHAIN]
        command = Command(tmp_path, "lifecycle", *args)
        wait(lambda count=count: len(done_of(tmp_path)) > count, command)
        os.kill(command.pid, signal.SIGKILL)
        command.finish()
    done = run_script(tmp_path, "lifecycle", *ARGS, "--folder", CHAIN)
    assert done.returncode == 0, done.stderr
    assert lasting(report_of(tmp_path)) == lasting(report_of(whole[0]))


def done_of(folder):
    path = folder / CHAIN / "state.json"
    return json.loads(path.read_text())["results"] if path.exists() else []


def wait(happened, command, seconds=MAX_LENGTH):
    end = time.monotonic() + seconds
    while not happened() and command.running and time.monotonic() < end:
        time.sleep(0.02)


@pytest.mark.slow
def test_a_killed_pipeline_leaves_no_server_running(tmp_path):
    def is_server(process):
        try:
            return (process / "cwd").readlink() == tmp_path and b"serve.py" in (process / "cmdline").read_bytes()
        except OSError:  # the process has just ended
            return False

    def servers():
        return [process for process in Path("/proc").glob("[0-9]*") if is_server(process)]

    command = Command(tmp_path, "lifecycle", "--stages", "train,serve", "--trainer.max_epochs", 1)
    wait(servers, command)
    assert servers()
    os.kill(command.pid, signal.SIGKILL)
    command.finish()
    wait_for(lambda: not servers())


@pytest.mark.slow
def test_stages_that_a_linear_net_cannot_take_are_skipped_with_a_reason(tmp_path):
    config = REPOSITORY / "scripts/experiments/hello.yaml"
    args = ["--stages", "train,distill,prune", "--trainer.max_epochs", 2]
    done = run_script(tmp_path, "lifecycle", "--config", config, *args)
    assert done.returncode == 0, done.stderr
    rows = report_of(tmp_path)["rows"]
    assert [row["gain"] for row in rows[1:3]] == [None, None]
    assert done.stdout.count("skipped: Linear has no layer whose units can be removed") == 4


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (
            ["--folder", CHAIN, *ARGS, "--data.rows", "50"],
            "--data.rows: lightning_logs/lifecycle_0 was started with",
        ),
        (["--folder", CHAIN, "--stages", "train"], "was started with train,ensemble"),
        (["--folder", "nowhere"], "nowhere: contains no life cycle"),
        (["--stages", "prune"], "prune needs a run; put train"),
    ],
)
def test_a_mistake_is_reported_in_one_line(whole, args, message):
    folder, _ = whole
    before = sorted(folder.rglob("*"))
    done = run_script(folder, "lifecycle", *args)
    assert done.returncode == 2
    assert message in done.stderr
    assert done.stderr.count("\n") == 1
    assert sorted(folder.rglob("*")) == before


@pytest.mark.slow
def test_the_last_artifact_of_digits_is_small_fast_and_accurate(tmp_path, capsys):
    """It is at least 8 times smaller and 4 times faster than the teacher's, and loses at most 1.5 % of accuracy."""
    config = REPOSITORY / "scripts/experiments/digits_cnn.yaml"
    done = Command(tmp_path, "lifecycle", "--config", config).finish(timeout=1_500)
    assert done.returncode == 0, done.stderr
    summary = report_of(tmp_path)["summary"]
    with capsys.disabled():
        print(f"\n{summary}")
    assert summary["times_smaller"] >= 8
    assert summary["times_faster_64"] >= 4
    assert summary["metric_last"] >= summary["metric_first"] - 0.015


@pytest.mark.slow
@pytest.mark.parametrize("name", ["hello", "diabetes", "series_lstm"])
def test_the_pipeline_runs_for_every_kind_of_experiment(tmp_path, name):
    config = REPOSITORY / f"scripts/experiments/{name}.yaml"
    if header := re.findall(r'python -c "(.*)"', config.read_text()):
        Command(tmp_path, "lifecycle", "--help").finish()
        os.chdir(tmp_path)
        exec(header[0])
    done = Command(tmp_path, "lifecycle", "--config", config).finish(timeout=1_500)
    assert done.returncode == 0, done.stderr
    assert len(report_of(tmp_path)["rows"]) == len(STAGES)
