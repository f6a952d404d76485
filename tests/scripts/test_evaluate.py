import json
import shutil

import pytest

from project.data import SyntheticDataModule
from project.inference.evaluate import evaluate
from project.runs.checkpoint import read_checkpoint
from project.runs.checkpoint_io import VerifiedCheckpointIO
from project.runtime.errors import UserError
from tests.command import run_script


def test_the_command_reproduces_the_test_metrics_of_the_run(default_run):
    run, _ = default_run
    written = json.loads((run / "metrics.json").read_text())
    done = run_script(run.parents[1], "evaluate", "last", "--json")
    assert done.returncode == 0, done.stderr
    printed = json.loads(done.stdout)
    assert printed.pop("rows") == 100
    assert printed == {name: written[name] for name in printed}
    assert "test/mse" in printed


def test_flags_select_other_data(default_run):
    metrics, rows = evaluate(str(default_run[0]), ["--data.test_rows", "5000", "--data.noise", "0"])
    assert rows == 5000
    test, fit = SyntheticDataModule(test_rows=5000, noise=0).splits.test, SyntheticDataModule().least_squares
    assert metrics["test/mse"] == pytest.approx((fit.predict(test.x) - test.y).square().mean().item(), rel=0.05)


def test_a_run_that_was_told_to_use_a_gpu_is_evaluated_without_one(default_run, folder):
    shutil.copytree(default_run[0], "run")
    path = folder / "run/checkpoints/best.ckpt"
    checkpoint = read_checkpoint(path)
    assert "accelerator: auto" in checkpoint["config"]
    checkpoint["config"] = checkpoint["config"].replace("accelerator: auto", "accelerator: gpu")
    VerifiedCheckpointIO().save_checkpoint(checkpoint, path)
    assert evaluate("run") == evaluate(str(default_run[0]))


def test_other_columns_or_another_network_are_refused(default_run):
    with pytest.raises(UserError, match=r"the data's feature_names are .*, but .* was trained on .*'x'"):
        evaluate(str(default_run[0]), ["--data.features", "2"])
    for flag in ("--model.net=MLP", "--optimizer.lr=3", "--weights.path=last", "--ckpt_path=last"):
        with pytest.raises(UserError, match=rf"{flag.partition('=')[0]}: cannot change a trained model; remove it"):
            evaluate(str(default_run[0]), [flag])
