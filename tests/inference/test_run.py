import numpy as np
import pytest
import torch

import project
from project import load, train
from project.runtime.errors import UserError

SHORT = ["--trainer.max_epochs", "3", "--epoch_line.every_n_epochs", "0"]


@pytest.fixture
def run(folder, capsys):
    train(["--data.features", "2", "--data.rows", "60", *SHORT])
    return load()


def test_a_run_predicts_what_its_equation_says_for_rows_and_columns(run):
    x = np.array([[1.0, -2.0], [3.0, 4.0], [0.5, 0.0]])
    expected = x @ run.equation.weights.numpy() + run.equation.bias.numpy()
    for rows in (x, torch.tensor(x), x.tolist(), {"x2": x[:, 1], "other": [0, 0, 0], "x1": list(x[:, 0])}):
        np.testing.assert_allclose(run.predict(rows), expected, rtol=1e-5)


def test_a_run_has_the_metrics_the_data_and_the_model_of_its_training(run):
    assert run.metrics["test/mse"] == run.metrics["test/loss"]
    assert len(run.data.splits.train) == 60
    predicted = torch.from_numpy(run.predict(run.data.splits.test.x))
    assert (predicted - run.data.splits.test.y).square().mean().item() == pytest.approx(run.metrics["test/mse"])
    assert not run.model.training
    assert f"test/mse {run.metrics['test/mse']:#.6g}" in repr(run)
    assert "<td>Regression</td>" in run._repr_html_()


def test_classes_are_predicted_by_name_with_probabilities(folder, capsys):
    train(["--model", "Classification", "--data", "DigitsDataModule", *SHORT])
    run = load("last")
    x, y = run.data.splits.test.x, run.data.splits.test.y
    named = [run.data.class_names[k] for k in y]
    assert np.mean(run.predict(x) == named) == pytest.approx(run.metrics["test/accuracy"])
    np.testing.assert_allclose(run.probabilities(x), run.model(x).softmax(1).detach(), rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ({"x1": [1.0]}, "rows: no column 'x2'; the model's features are x1, x2"),
        ([[1.0, 2.0, 3.0]], r"rows: must have shape \(n, 2\), got \(1, 3\)"),
        ([[1.0, float("nan")]], "rows: a value is missing or not finite"),
        ([[1.0, "a"]], "rows: not numbers of one shape"),
    ],
)
def test_rows_that_do_not_fit_are_an_error(run, rows, message):
    with pytest.raises(UserError, match=message):
        run.predict(rows)
    with pytest.raises(UserError, match="predicts numbers, which have no probabilities"):
        run.probabilities([[1.0, 2.0]])


def test_every_command_is_a_function():
    assert all(callable(getattr(project, name)) for name in project.__all__)
    assert set(project.__all__) <= set(dir(project))
    with pytest.raises(AttributeError, match="no attribute 'fit'"):
        _ = project.fit
