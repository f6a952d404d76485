"""Permutation importance."""

import numpy as np
import pytest
import torch
from sklearn.inspection import permutation_importance as reference_importance
from sklearn.linear_model import LinearRegression as Reference

from project.data import TabularDataModule
from project.inference.evaluate import evaluate_and_report
from project.inference.importance import permutation_importance
from project.models import Regression
from project.runtime.errors import UserError
from project.training.train import train


@pytest.fixture
def table(folder):
    draw = np.random.default_rng(0)
    n = 600
    size, noise, day = draw.normal(size=n), draw.normal(size=n), draw.integers(1, 28, n)
    kind = draw.choice(["a", "b"], n)
    y = 3 * size + 2 * (kind == "b") + draw.normal(size=n)
    rows = zip(noise, size, [f"2024-01-{d:02}" for d in day], kind, y, strict=True)
    (folder / "t.csv").write_text("noise,size,day,kind,y\n" + "".join(",".join(map(str, row)) + "\n" for row in rows))
    return "t.csv"


def test_the_rise_of_the_loss_is_scikit_learns(table):
    data = TabularDataModule(table, "y", features=["noise", "size"])
    model = Regression(data.in_shape, 1, standardize=False).eval()
    with torch.no_grad():
        model.net.net.linear.weight.copy_(torch.tensor([[0.1, 2.5]]))
        model.net.net.linear.bias.zero_()
    found = {each.name: each for each in permutation_importance(model, data, repeats=40)}
    reference = Reference().fit(*data.splits.train.gather(slice(None)))
    reference.coef_, reference.intercept_ = np.array([[0.1, 2.5]]), np.zeros(1)
    x, y = data.splits.test.x.numpy(), data.splits.test.y.numpy()
    scoring = "neg_mean_squared_error"
    expected = reference_importance(reference, x, y, scoring=scoring, n_repeats=40, random_state=0)
    for number, name in enumerate(data.feature_names):
        error = 4 * expected.importances_std[number] / 40**0.5
        assert found[name].mean == pytest.approx(expected.importances_mean[number], abs=error)
        assert found[name].std == pytest.approx(expected.importances_std[number], rel=0.5)


def test_a_command_names_columns_and_draws_them(table, folder, capsys):
    train(["--model", "LinearRegression", "--data", "TabularDataModule", "--data.path", table, "--data.target", "y"])
    capsys.readouterr()
    evaluate_and_report("last", [], False, folder / "importance.png")
    lines = [line.split("│")[1].strip() for line in capsys.readouterr().out.splitlines() if line.count("│") == 4]
    assert lines[-4:-2] == ["size", "kind"]
    assert sorted(lines[-2:]) == ["day", "noise"]  # the parts of a date are one column
    assert (folder / "importance.png").read_bytes().startswith(b"\x89PNG")


def test_rows_that_are_no_table_have_none(folder):
    data = TabularDataModule.__new__(TabularDataModule)
    with pytest.raises(UserError, match="--importance: needs the rows of a table"):
        permutation_importance(torch.nn.Linear(1, 1), data)
