"""`scripts/prune.py` as a user runs it."""

import json
from pathlib import Path

import pytest

from tests.command import run_script

MLP = ["--model.net", "MLP", "--model.net.hidden", "[8]", "--optimizer", "Adam", "--trainer.max_epochs", "4"]


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A folder with a run of an MLP."""
    folder = tmp_path_factory.mktemp("prune")
    done = run_script(folder, "train", *MLP)
    assert done.returncode == 0, done.stderr
    return folder


def runs(folder):
    return sorted(path.name for path in (folder / "lightning_logs").iterdir())


@pytest.mark.slow
def test_the_report_of_masked_weights_says_that_no_file_gets_smaller(source):
    before = runs(source)
    done = run_script(source, "prune", "lightning_logs/version_0", "--sparsity", "0.75")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    [new] = set(runs(source)) - set(before)
    metrics = json.loads((source / "lightning_logs" / new / "metrics.json").read_text())
    assert metrics["pruned/nonzero"] == metrics["pruned/parameters"] - 12
    printed = " ".join(done.stdout.split())
    assert "nonzero parameters │ 25 │ 13 │" in printed
    assert "the file is not smaller, and nothing is faster" in printed


@pytest.mark.slow
def test_the_report_of_removed_units_shows_parameters_before_and_after(source):
    before = runs(source)
    args = ["--structured", "0.5", "--trainer.max_epochs", "2"]
    done = run_script(source, "prune", "lightning_logs/version_0", *args)
    assert done.returncode == 0, done.stderr
    assert "parameters │ 25 │ 13 │" in " ".join(done.stdout.split())
    [new] = set(runs(source)) - set(before)
    metrics = json.loads((source / "lightning_logs" / new / "metrics.json").read_text())
    done = run_script(source, "evaluate", f"lightning_logs/{new}", "--json")
    assert json.loads(done.stdout)["test/mse"] == pytest.approx(metrics["test/mse"])


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["lightning_logs/version_0"], "set either --sparsity"),
        (
            ["lightning_logs/version_0", "--sparsity", "1.5"],
            "--sparsity: must be a number above 0 and below 1, got 1.5",
        ),
        (["lightning_logs/version_0", "--structured", "0.99"], "removes all 8 units"),
        (
            ["lightning_logs/version_0", "--sparsity", "0.5", "--pruning.epoch_count", "3"],
            "did you mean --pruning.epochs 3?",
        ),
        (["lightning_logs/version_0", "--sparsity", "0.5", "--data.path", "no.csv"], "path"),
        (["model.onnx", "--sparsity", "0.5"], "model.onnx: expected a run, got an exported file"),
    ],
)
def test_a_mistake_prints_one_line_and_leaves_no_run(source, args, message):
    Path(source / "model.onnx").write_bytes(b"no model")
    before = runs(source)
    done = run_script(source, "prune", *args)
    assert done.returncode == 2
    assert message in done.stderr
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    assert runs(source) == before
