"""scripts/lifecycle.py as a user types it."""

import json
import os
import re
import shlex
import signal
import time
from pathlib import Path

import pytest

from tests.command import REPOSITORY, Command, run_script

STAGES = ["train", "ensemble", "distill", "prune", "export", "quantize", "serve", "evaluate"]
ARGS = ["--model.net", "MLP", "--model.net.hidden", "[8]", "--data.features", "3", "--optimizer", "Adam"]
ARGS += ["--trainer.max_epochs", "2", "--ensemble.members", "2"]
CHAIN = "lightning_logs/lifecycle_0"
# Of a report: times, what is said of them, and sizes of files, in which paths are written.
VARIES = ("seconds", "milliseconds", "requests", "told", "gain", "times_", "bytes")


def report_of(folder, chain=CHAIN):
    return json.loads((folder / chain / "report.json").read_text())


def lasting(value):
    """A report, without what differs from one time to another."""
    if isinstance(value, dict):
        return {key: lasting(part) for key, part in value.items() if not key.startswith(VARIES)}
    return [lasting(part) for part in value] if isinstance(value, list) else value


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A folder with a chain of all stages, and what it printed."""
    folder = tmp_path_factory.mktemp("lifecycle")
    done = run_script(folder, "lifecycle", *ARGS)
    assert done.returncode == 0, done.stderr
    return folder, done


def test_every_stage_leaves_what_it_made_in_one_folder(whole):
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


def test_the_report_says_what_evaluate_says_of_each_model(whole):
    folder, _ = whole
    for row in [row for row in report_of(folder)["rows"] if row["model"]]:
        told = run_script(folder, "evaluate", f"{CHAIN}/{row['model']}", "--json")
        assert json.loads(told.stdout)["test/mse"] == pytest.approx(row["metric"], rel=1e-5)
        low, high = row["interval"]
        assert low < row["metric"] < high


def test_the_page_needs_nothing_from_elsewhere_and_says_what_the_table_says(whole):
    folder, _ = whole
    page, table = ((folder / CHAIN / f"report.{kind}").read_text() for kind in ("html", "md"))
    assert not re.search(r"https?:|<script|<link|src=|href=|url\(|@import", page)
    assert "prefers-color-scheme:dark" in page
    assert page.count("<svg") == 3
    for row in report_of(folder)["rows"]:
        assert row["command"] in table
        assert f"{row['seconds']:.1f}" in page
        if "bytes" in row:
            assert f"{row['bytes']:,}" in page
            assert f"| {row['bytes']:,} |" in table


def test_tensorboard_shows_the_table_beside_the_curves(whole):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    folder, _ = whole
    events = EventAccumulator(str(folder / CHAIN)).Reload()
    [tag] = events.Tags()["tensors"]
    text = events.Tensors(tag)[-1].tensor_proto.string_val[0].decode()
    assert (folder / CHAIN / "report.md").read_text().startswith(text)


def test_commands_of_the_report_do_the_same(whole):
    folder, _ = whole
    rows = {row["stage"]: row for row in report_of(folder)["rows"]}
    for number, stage in enumerate(["train", "distill"]):
        python, script, *args = shlex.split(rows[stage]["command"])
        assert python == "python"
        done = run_script(folder, Path(script).stem, *args)
        assert done.returncode == 0, done.stderr
        found = json.loads((folder / f"lightning_logs/version_{number}/metrics.json").read_text())
        assert found["test/mse"] == pytest.approx(rows[stage]["metric"])


def test_a_chain_that_is_killed_after_any_stage_comes_to_the_same(whole, tmp_path):
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
    return json.loads(path.read_text())["done"] if path.exists() else []


def wait(happened, command, seconds=100):
    end = time.monotonic() + seconds
    while not happened() and command.running and time.monotonic() < end:
        time.sleep(0.02)


def test_no_server_outlives_a_chain_that_is_killed(tmp_path):
    def is_server(process):
        try:
            return (process / "cwd").readlink() == tmp_path and b"serve.py" in (process / "cmdline").read_bytes()
        except OSError:  # it has just ended
            return False

    def servers():
        return [process for process in Path("/proc").glob("[0-9]*") if is_server(process)]

    command = Command(tmp_path, "lifecycle", "--stages", "train,serve", "--trainer.max_epochs", 1)
    wait(servers, command)
    assert servers()
    os.kill(command.pid, signal.SIGKILL)
    command.finish()
    end = time.monotonic() + 30
    while servers() and time.monotonic() < end:
        time.sleep(0.1)
    assert not servers()


def test_what_cannot_be_done_to_a_linear_net_is_said_and_no_failure(tmp_path):
    config = REPOSITORY / "scripts/experiments/hello.yaml"
    args = ["--stages", "train,distill,prune", "--trainer.max_epochs", 2]
    done = run_script(tmp_path, "lifecycle", "--config", config, *args)
    assert done.returncode == 0, done.stderr
    rows = report_of(tmp_path)["rows"]
    assert [row["gain"] for row in rows[1:3]] == [False, False]
    assert done.stdout.count("no gain: Linear has no layer whose units could go") == 4  # as it goes, and in the end


@pytest.mark.parametrize(
    ("args", "told"),
    [
        (
            ["--folder", CHAIN, *ARGS, "--data.rows", "50"],
            "--data.rows: lightning_logs/lifecycle_0 was begun",
        ),
        (["--folder", CHAIN, "--stages", "train"], "was begun with train,ensemble"),
        (["--folder", "nowhere"], "nowhere: no life cycle was begun there"),
        (["--stages", "prune"], "prune needs a run to begin with"),
    ],
)
def test_mistakes_are_told_in_one_line(whole, args, told):
    folder, _ = whole
    before = sorted(folder.rglob("*"))
    done = run_script(folder, "lifecycle", *args)
    assert done.returncode == 2
    assert told in done.stderr
    assert done.stderr.count("\n") == 1
    assert sorted(folder.rglob("*")) == before


@pytest.mark.slow
def test_the_figures_of_digits(tmp_path, capsys):
    """The last artifact is much smaller and faster than the teacher's, and hardly worse."""
    config = REPOSITORY / "scripts/experiments/digits_cnn.yaml"
    done = Command(tmp_path, "lifecycle", "--config", config).finish(timeout=1_500)
    assert done.returncode == 0, done.stderr
    it = report_of(tmp_path)["summary"]
    with capsys.disabled():
        print(f"\n{it}")
    assert it["times_smaller"] >= 8
    assert it["times_faster_64"] >= 4
    assert it["metric_last"] >= it["metric_first"] - 0.015


@pytest.mark.slow
@pytest.mark.parametrize("name", ["hello", "diabetes", "series_lstm"])
def test_every_kind_of_experiment_has_a_life_cycle(tmp_path, name):
    config = REPOSITORY / f"scripts/experiments/{name}.yaml"
    if header := re.findall(r'python -c "(.*)"', config.read_text()):
        Command(tmp_path, "lifecycle", "--help").finish()
        os.chdir(tmp_path)
        exec(header[0])
    done = Command(tmp_path, "lifecycle", "--config", config).finish(timeout=1_500)
    assert done.returncode == 0, done.stderr
    assert len(report_of(tmp_path)["rows"]) == len(STAGES)
