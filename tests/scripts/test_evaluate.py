import json

import pytest

from project.data import SyntheticDataModule
from project.inference.evaluate import evaluate
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


def test_other_columns_or_another_network_are_refused(default_run):
    with pytest.raises(UserError, match=r"the data's feature_names are .*, but .* was trained on .*'x'"):
        evaluate(str(default_run[0]), ["--data.features", "2"])
    for flag in ("--model.net=MLP", "--optimizer.lr=3", "--weights.path=last", "--ckpt_path=last"):
        with pytest.raises(UserError, match=rf"{flag.partition('=')[0]}: cannot change a trained model; remove it"):
            evaluate(str(default_run[0]), [flag])
