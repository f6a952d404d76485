"""Every fold of an experiment, against least squares by NumPy."""

import json
import statistics

import numpy as np
import pytest

from project.runtime.errors import UserError
from project.stages.crossvalidate import crossvalidate, summary
from project.training.cli import ExperimentCLI
from tests.command import run_script


def test_each_fold_is_the_exact_answer_of_the_others(folder, table):
    args = ["--data", "TabularDataModule", "--data.path", str(table(rows=60, _1=",9")), "--data.target", "y"]
    found = list(crossvalidate(3, [*args, "--model", "LinearRegression"]))
    assert [run.name for run, _ in found] == ["fold_0", "fold_1", "fold_2"]
    for run, metrics in found:
        splits = ExperimentCLI(["--config", str(run / "config.yaml"), "--trainer.logger", "false"]).datamodule.splits
        x, y, test_x, test_y = (part.double().numpy() for part in (*vars_of(splits.train), *vars_of(splits.test)))
        solution = np.linalg.lstsq(np.c_[x, np.ones(len(x))], y, rcond=None)[0]
        errors = np.c_[test_x, np.ones(len(test_x))] @ solution - test_y
        assert metrics["test/mse"] == pytest.approx((errors**2).mean(), rel=1e-3)
    written = json.loads((found[0][0].parent / "metrics.json").read_text())
    values = [metrics["test/mse"] for _, metrics in found]
    assert written == summary([metrics for _, metrics in found])
    assert written["test/mse"] == pytest.approx(statistics.mean(values))
    assert written["test/mse/std"] == pytest.approx(np.std(values, ddof=1))


def vars_of(rows):
    return rows.x, rows.y


def test_the_command_prints_mean_and_spread_and_leaves_no_empty_folder(folder):
    done = run_script(folder, "crossvalidate", "--folds", 2, "--trainer.max_epochs", 1)
    assert done.returncode == 0, done.stderr
    assert "standard deviation" in done.stdout
    assert (folder / "lightning_logs/crossvalidation_0/fold_1/checkpoints/best.ckpt").is_file()
    done = run_script(folder, "crossvalidate", "--optimizer.lr", "-1")
    assert (done.returncode, done.stderr) == (2, "error: --optimizer or --lr_scheduler: Invalid learning rate: -1.0\n")
    assert [path.name for path in (folder / "lightning_logs").iterdir()] == ["crossvalidation_0"]


@pytest.mark.parametrize(
    ("folds", "args", "told"),
    [
        (1, [], "--sampling.folds: must be an integer, 2 or more, got 1"),
        (0, [], "--sampling.folds: must be an integer, 2 or more, got 0"),
        (9, ["--foo"], "unknown flag"),
        (3, ["--sampling.folds", "4"], "--sampling.folds: cross-validation sets the fold of each run"),
        (3, ["--ckpt_path", "last"], "--ckpt_path: a stage starts a new run"),
        (3, ["--trainer.logger", "false"], "--trainer.logger: the stage needs runs"),
        (3, ["--trainer.limit_test_batches", "0"], "--trainer.limit_test_batches: must not be 0"),
    ],
)
def test_mistakes(folder, folds, args, told):
    with pytest.raises(UserError, match=told):
        list(crossvalidate(folds, args))


def test_a_text_has_no_folds():
    with pytest.raises(UserError, match="--data: a text has no rows to divide into folds; train on several splits"):
        next(crossvalidate(3, ["--data", "TextDataModule"]))
