"""`scripts/runs.py` on runs of which config.yaml and metrics.json are written by hand, and on one that was trained."""

import json
import os
import subprocess
import sys

import pytest
from filelock import FileLock

from tests.command import run_script, script_path
from tests.trained import trained


@pytest.fixture
def run(folder):
    """A function that writes a run with a test metric."""

    def write(name, loss=1.0, metric="loss", age=0, seed=0, net="MLP", **settings):
        path = folder / "lightning_logs" / name
        (path / "checkpoints").mkdir(parents=True)
        lines = ["model:", "  class_path: project.models.Regression", "  init_args:", f"    net: project.nets.{net}"]
        lines += ["data:", "  class_path: project.data.SyntheticDataModule", f"  init_args: {{seed: {seed}}}"]
        lines += [f"{section}: {json.dumps(values)}" for section, values in settings.items()]
        (path / "config.yaml").write_text("\n".join(lines))
        (path / "metrics.json").write_text(json.dumps({f"test/{metric}": loss}))
        for file in path.rglob("*"):
            os.utime(file, (1_000_000 - age, 1_000_000 - age))
        return path

    return write


def listed(folder, *args):
    done = run_script(folder, "runs", "--json", *args)
    assert done.returncode == 0, done.stderr
    return [found["name"] for found in json.loads(done.stdout)]


def failed(folder, *args):
    done = run_script(folder, "runs", *args)
    assert (done.returncode, done.stdout) == (2, "")
    return done.stderr


def test_runs_are_listed_with_what_they_are(folder, capsys):
    trained(["--trainer.max_epochs", "1", "--epoch_line.every_n_epochs", "0"])
    shown = run_script(folder, "runs").stdout
    cells = [cell.strip() for cell in shown.splitlines()[3].split("│")[1:-1]]
    metrics = json.loads((folder / "lightning_logs/version_0/metrics.json").read_text())
    value = f"{metrics['test/rmse']:.4g}"
    assert cells[:6] == ["version_0", "Regression", "Linear", "Synthetic", "test/rmse", value]
    assert cells[-1] == "finished"


def test_runs_are_filtered_and_sorted(folder, run):
    run("version_0", 2.0, age=5, optimizer={"lr": 0.1})
    run("version_1", 1.0, age=9, net="Linear", optimizer={"lr": 0.01})
    run("version_2", 0.9, "accuracy", age=7, optimizer={"lr": 1e-1})
    run("version_3", 0.8, "accuracy", age=1)
    assert listed(folder) == ["version_3", "version_0", "version_2", "version_1"]
    assert listed(folder, "--sort", "metric", "--metric", "test/loss")[:2] == ["version_1", "version_0"]
    assert listed(folder, "--sort", "metric", "--metric", "test/accuracy")[:2] == ["version_2", "version_3"]
    assert listed(folder, "--where", "net=linear") == ["version_1"]
    assert listed(folder, "--where", "optimizer.lr=0.10", "--where", "net=mlp") == ["version_0", "version_2"]
    assert "no run has a setting 'optimiser.lr'" in failed(folder, "--where", "optimiser.lr=1")
    assert "no run has 'test/los'; use one of test/accuracy, test/loss" in failed(folder, "--metric", "test/los")


def test_a_damaged_configuration_does_not_hide_the_other_runs(folder, run):
    (run("version_0") / "config.yaml").write_text("model: [")
    (run("version_1", age=3) / "metrics.json").write_text("{")
    found = json.loads(run_script(folder, "runs", "--json").stdout)
    assert {each["name"]: each["model"] for each in found} == {"version_0": "", "version_1": "Regression"}


def test_runs_of_a_sweep_are_listed_on_request(folder, run):
    run("version_0")
    run("sweep_0/trial_0", age=3)
    assert listed(folder) == ["version_0"]
    assert listed(folder, "--all") == ["version_0", "sweep_0/trial_0"]
    assert "1 more runs in sweeps and pipelines; list them with --all" in run_script(folder, "runs").stdout


def test_settings_that_differ_stand_side_by_side(folder, run):
    run("version_0", 0.5, optimizer={"lr": 0.1, "momentum": 0})
    run("version_1", 0.25, optimizer={"lr": 0.2, "momentum": 0})
    shown = run_script(folder, "runs", "--compare", "version_0", "lightning_logs/version_1").stdout
    assert [part.strip() for part in shown.split("optimizer.lr")[1].split("│")[1:3]] == ["0.1", "0.2"]
    assert "momentum" not in shown
    assert [part.strip() for part in shown.split("test/loss")[1].split("│")[1:3]] == ["0.5", "0.25"]


def test_nothing_is_deleted_before_it_is_confirmed(folder, run):
    path, other = run("version_0"), run("version_1", weights={"path": str(folder / "lightning_logs/version_0")})
    shown = run_script(folder, "runs", "--delete", "version_0").stdout
    assert "version_1 was trained from version_0" in shown
    assert "would delete 1 run" in shown
    assert path.exists()
    assert run_script(folder, "runs", "--delete", "version_0", "--yes").stdout.startswith("deleted 1 run")
    assert (path.exists(), other.exists()) == (False, True)


@pytest.mark.parametrize("reference", ["lightning_logs", ".", "..", "/", "version_9", "lightning_logs/.."])
def test_only_runs_are_deleted(folder, run, reference):
    path = run("version_0")
    assert "is not a run in lightning_logs" in failed(folder, "--delete", reference, "--yes")
    assert path.exists()


def test_a_run_that_is_being_trained_is_not_deleted(folder, run):
    busy, other = run("version_0"), run("version_1")
    with FileLock(busy / ".lock"):
        assert "version_0: being trained" in failed(folder, "--delete", "version_0", "version_1", "--yes")
    assert busy.exists()
    assert other.exists()


def test_the_best_run_of_each_data_set_is_kept(folder, run):
    run("version_0", 2.0)
    run("version_1", 1.0)
    run("version_2", 9.0, seed=1)
    run("version_3", 3.0)
    (run("version_4", 3.0) / "metrics.json").unlink()
    run_script(folder, "runs", "--keep", "best", "--yes")
    assert sorted(listed(folder)) == ["version_1", "version_2", "version_4"], "and the unfinished one"


def test_a_sweep_is_deleted_as_a_whole(folder, run):
    run("version_0")
    run("sweep_0/trial_0")
    (folder / "lightning_logs/sweep_0/best.yaml").touch()
    run_script(folder, "runs", "--delete", "sweep_0", "--yes")
    assert [path.name for path in (folder / "lightning_logs").iterdir()] == ["version_0"]


def test_the_page_shows_names_as_text(folder, run):
    run("version_0 <b>")
    assert run_script(folder, "runs", "--page", "runs.html").returncode == 0
    assert "version_0 &lt;b&gt;" in (folder / "runs.html").read_text()


def test_a_folder_without_runs_and_flags_that_exclude_each_other_are_told(folder, run):
    assert "contains no run; train one with" in failed(folder)
    run("version_0")
    assert "--page: excludes --json; remove one of them" in failed(folder, "--json", "--page", "a.html")
    assert "--yes: needs --delete or --keep" in failed(folder, "--yes")


def test_neither_torch_nor_lightning_is_imported(folder, run):
    run("version_0")
    done = subprocess.run([sys.executable, "-X", "importtime", script_path("runs")], capture_output=True, text=True)
    assert done.returncode == 0
    assert " torch\n" not in done.stderr
    assert " lightning" not in done.stderr
