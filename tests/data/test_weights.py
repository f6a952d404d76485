"""Weights of rows from a column of a table."""

import csv
import random

import numpy as np
import pytest
import torch
from lightning.pytorch import Trainer
from sklearn import metrics as sk
from sklearn.linear_model import LinearRegression, LogisticRegression, PoissonRegressor
from torch import nn

from project.data import TabularDataModule
from project.data.sampling import Sampling
from project.inference.evaluate import evaluate
from project.models import Classification, Regression
from project.nets import MLP, Ensemble
from project.runtime.errors import UserError
from project.training.constant_prediction import constant_metrics
from project.training.train import train

QUIET = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "enable_model_summary": False}


@pytest.fixture
def table(folder):
    """500 rows with weights of 0 to 3 that are a function of the inputs."""
    draw = random.Random(0)
    with (folder / "t.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["a", "w", "b", "y", "count", "label"])
        for _ in range(500):
            a, b = draw.gauss(3, 2), draw.gauss(0, 1)
            y = a - 2 * b + draw.gauss(0, 1 + abs(a))
            row = [a, round(1.5 + 1.5 * np.sin(20 * a), 1), b, y, int(abs(y)), "yes" if y > 4 else "no"]
            writer.writerow(row)
    return "t.csv"


def module(path, target="y", **options):
    others = [name for name in ("y", "count", "label") if name != target]
    return TabularDataModule(path, target, exclude=others, weights="w", batch_size=500, **options)


def weights_of(rows):
    """The weights in the file that belong to rows, from their inputs."""
    return np.round(1.5 + 1.5 * np.sin(20 * rows.x[:, 0].double().numpy()), 1)


def fitted(model, data):
    model.optimizer = lambda parameters: torch.optim.LBFGS(parameters, max_iter=100, line_search_fn="strong_wolfe")
    Trainer(max_epochs=3, accelerator="cpu", **QUIET).fit(model, data)
    return model.eval()


@pytest.mark.parametrize(
    "options", [{}, {"stream": True}, {"sampling": Sampling(folds=3, fold=1)}], ids=["memory", "stream", "folds"]
)
def test_weights_stay_with_their_rows_and_the_exact_answer_is_weighted(table, options):
    options = dict(options)
    sampling = options.pop("sampling", Sampling())
    data = module(table, **options)
    data.sampling = sampling
    scale = weights_of(data.splits.train).mean()
    assert data.feature_names == ["a", "b"]
    for rows in data.splits:
        np.testing.assert_allclose(rows.weights[:, 0].numpy() * scale, weights_of(rows), rtol=1e-5, atol=1e-5)
    train_rows = data.splits.train
    x, y = train_rows.x.double(), train_rows.y.double()
    peer = LinearRegression().fit(x, y, weights_of(train_rows))
    np.testing.assert_allclose(data.least_squares.weights.T, peer.coef_, rtol=1e-6)
    assert data.least_squares.rows == (weights_of(train_rows) > 0).sum()
    assert data.least_squares.total_weight == pytest.approx(weights_of(train_rows).sum(), rel=1e-6)


@pytest.mark.parametrize("stream", [False, True])
def test_class_weights_and_row_weights_multiply_as_in_scikit_learn(table, stream):
    data = module(table, "label", task="classification", stream=stream)
    model = Classification((2,), 2, loss=lambda: nn.CrossEntropyLoss(weight=torch.tensor([1.0, 4.0])))
    fitted(model, data)
    (train_rows, _, test), scaled = data.splits, lambda rows: model.net.features(rows.x).detach().numpy()
    peer = LogisticRegression(C=np.inf, class_weight={0: 1, 1: 4}, tol=1e-8)
    peer.fit(scaled(train_rows), train_rows.y, weights_of(train_rows))
    logits = model(test.x).detach()
    np.testing.assert_allclose(logits.softmax(1)[:, 1], peer.predict_proba(scaled(test))[:, 1], atol=2e-3)
    [found] = Trainer(accelerator="cpu", **QUIET).test(model, data, verbose=False)
    both = weights_of(test) * np.where(test.y == 1, 4, 1)
    assert found["test/loss"] == pytest.approx(sk.log_loss(test.y, logits.softmax(1), sample_weight=both), rel=1e-5)
    assert found["test/accuracy"] == pytest.approx(sk.accuracy_score(test.y, logits.argmax(1)))
    shares = np.bincount(train_rows.y, weights_of(train_rows)) / weights_of(train_rows).sum()
    constant = constant_metrics(model, data)["test/loss"]
    assert constant == pytest.approx(sk.log_loss(test.y, [shares] * len(test), sample_weight=both), rel=1e-5)


def test_counts_are_weighted_as_in_scikit_learn(table):
    data = module(table, "count")
    model = fitted(Regression((2,), 1, loss=nn.PoissonNLLLoss), data)
    rows = data.splits.train
    peer = PoissonRegressor(alpha=0, tol=1e-8, max_iter=1_000).fit(rows.x, rows.y[:, 0], weights_of(rows))
    np.testing.assert_allclose(model(rows.x).detach()[:, 0], peer.predict(rows.x), rtol=1e-2)


def test_members_of_an_ensemble_learn_from_weighted_rows_as_each_alone(table):
    data = module(table)
    x, y, weights = data.splits.train.gather(slice(0, 40))
    nets = [MLP((2,), 1, hidden=[4]), MLP((2,), 1, hidden=[4])]
    alone = sum(loss_of(Regression((2,), 1, net=net), x, y, weights) for net in nets)
    together = Regression((2,), 1, net=Ensemble((2,), 1, nets=nets))
    torch.testing.assert_close(loss_of(together, x, y, weights), alone)
    each = torch.cat([weights, 2 * weights], dim=1)  # of a bootstrap sample
    alone = sum(loss_of(Regression((2,), 1, net=net), x, y, w[:, None]) for net, w in zip(nets, each.T, strict=True))
    torch.testing.assert_close(loss_of(together, x, y, each), alone)


def loss_of(model, *batch):
    return model.compute_loss(model.prepare(*batch))[0]


def test_the_loss_of_training_and_of_a_test_is_weighted_and_other_metrics_are_not(table, capsys):
    args = ["--data", "TabularDataModule", f"--data.path={table}", "--data.target=y", "--data.weights=w"]
    args += ["--data.features=[a, b]", "--trainer.max_epochs=3", "--epoch_line.every_n_epochs=0"]
    metrics = train([*args, "--optimizer.lr=0.05"])
    assert "Row weights: w" in capsys.readouterr().out
    assert metrics["test/loss"] != metrics["test/mse"]
    assert evaluate("last")[0]["test/loss"] == pytest.approx(metrics["test/loss"])
    unweighted, _ = evaluate("last", ["--data.weights=null"])
    assert unweighted["test/loss"] == pytest.approx(unweighted["test/mse"]) == pytest.approx(metrics["test/mse"])
    exact = train([*args, "--model=LinearRegression"])
    assert metrics["train/loss"] >= exact["train/loss"] * 0.9999


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        ("-1", r"t.csv: column 'w', row 3: -1 is negative; --data.weights needs 0 or more in every row"),
        ("", r"t.csv: column 'w', row 3: missing; --data.weights"),
        ("heavy", r"t.csv: column 'w', row 3: 'heavy' is not a number"),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_a_weight_that_is_none_is_named_with_file_and_row(folder, cell, message, stream):
    cells = ["2", "0", cell, *["1"] * 37]
    (folder / "t.csv").write_text("x,w,y\n" + "".join(f"{n},{w},{n % 7}\n" for n, w in enumerate(cells)))
    with pytest.raises(UserError, match=message):
        _ = TabularDataModule("t.csv", "y", weights="w", stream=stream).splits


def test_what_cannot_be_is_an_error(folder):
    (folder / "t.csv").write_text("x,w,y\n" + "".join(f"{n},0,{n % 7}\n" for n in range(40)))
    with pytest.raises(UserError, match="t.csv: all training rows have the weight 0"):
        _ = TabularDataModule("t.csv", "y", weights="w").splits
    for options in ({"features": ["x", "w"]}, {"target": "w"}):
        with pytest.raises(UserError, match="column 'w' is named twice .*--data.weights"):
            TabularDataModule("t.csv", **{"target": "y", "weights": "w"} | options)
    with pytest.raises(UserError, match="no column 'v' .--data.weights"):
        TabularDataModule("t.csv", "y", weights="v")
    (folder / "new.csv").write_text("x,y\n" + "".join(f"{n},{n % 7}\n" for n in range(9)))
    (folder / "t.csv").write_text("x,w,y\n" + "".join(f"{n},{n % 2},{n % 7}\n" for n in range(40)))
    with pytest.raises(UserError, match="new.csv: no column 'w' .--data.weights; null if a table has none"):
        _ = TabularDataModule("t.csv", "y", weights="w", test_path="new.csv").splits


def test_rows_with_labels_need_weights(folder):
    """Of 20 training rows, one keeps its label."""
    (folder / "t.csv").write_text("x,w,y\n" + "".join(f"{n},{n},{n}\n" for n in range(20)))
    (folder / "new.csv").write_text("x,w,y\n1,1,1\n2,1,2\n")
    data = TabularDataModule("t.csv", "y", weights="w", val_path="new.csv", test_path="new.csv")
    data.sampling = Sampling(labels=1, unlabelled=True)
    train = data.splits.train
    [labelled] = train.x[~train.y.isnan()].tolist()
    text = "".join(f"{n},{int(n != labelled)},{n}\n" for n in range(20))
    (folder / "t.csv").write_text("x,w,y\n" + text)
    data = TabularDataModule("t.csv", "y", weights="w", val_path="new.csv", test_path="new.csv")
    data.sampling = Sampling(labels=1, unlabelled=True)
    with pytest.raises(UserError, match="t.csv: all training rows have the weight 0"):
        _ = data.splits
    model = Regression((1,), 1, loss=Mean)
    with pytest.raises(UserError, match="--model.loss Mean: must support reduction none"):
        model.val_metrics.update(torch.ones(3, 1), torch.zeros(3, 1), weights=torch.ones(3, 1))


class Mean(nn.Module):
    """A loss that gives the mean, whatever is asked for."""

    def forward(self, outputs, targets):
        return (outputs - targets).abs().mean()
