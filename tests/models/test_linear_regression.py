import csv
import json

import numpy as np
import pytest
import torch
from lightning.pytorch import Trainer
from sklearn.linear_model import LinearRegression, Ridge
from sklearn.preprocessing import StandardScaler
from torch.utils.data import DataLoader, TensorDataset

from project.data import SyntheticDataModule
from project.models import LinearRegression as ClosedForm
from project.training.cli import ExperimentCLI
from project.training.train import train
from tests.command import run_script

SIZES = ["--data.rows", "300", "--data.features", "4", "--data.outputs", "2"]


@pytest.mark.parametrize("alpha", [0.0, 30.0])
def test_predictions_and_metrics_are_scikit_learns(folder, alpha):
    metrics = train([*SIZES, "--model", "LinearRegression", "--model.alpha", str(alpha)])
    data = ExperimentCLI(SIZES).datamodule
    (x, y), (test_x, test_y) = ((rows.x.double().numpy(), rows.y.double().numpy()) for rows in data.splits[::2])
    scaler = StandardScaler().fit(x)
    peer = (Ridge(alpha) if alpha else LinearRegression()).fit(scaler.transform(x), y)
    assert metrics["train/mse"] == pytest.approx(((peer.predict(scaler.transform(x)) - y) ** 2).mean(), rel=1e-6)
    assert metrics["test/mse"] == pytest.approx(
        ((peer.predict(scaler.transform(test_x)) - test_y) ** 2).mean(), rel=1e-6
    )
    run = folder / "lightning_logs" / "version_0"
    assert json.loads((run / "metrics.json").read_text())["test/mse"] == metrics["test/mse"]
    with (run / "coefficients.csv").open() as file:
        lines = list(csv.DictReader(file))
    weights = np.array([float(line["coefficient"]) for line in lines]).reshape(2, 5)
    np.testing.assert_allclose(weights[:, :4], peer.coef_ / scaler.scale_, rtol=1e-9)
    assert [line["name"] for line in lines][:5] == ["y1/x1", "y1/x2", "y1/x3", "y1/x4", "y1/bias"]


@pytest.mark.slow
def test_its_run_is_a_run_like_any_other(folder):
    trained = run_script(folder, "train", "--model", "LinearRegression")
    assert trained.returncode == 0, trained.stderr
    assert "95 % confidence interval" in trained.stdout
    evaluated = run_script(folder, "evaluate", "last", "--json")
    metrics = json.loads((folder / "lightning_logs" / "version_0" / "metrics.json").read_text())
    assert json.loads(evaluated.stdout)["test/mse"] == pytest.approx(metrics["test/mse"])
    assert metrics["gap/train_mse"] < 1e-9


@pytest.mark.slow
def test_two_processes_solve_as_one_does(folder, default_run):
    ddp = ["--trainer.devices", "2", "--trainer.strategy", "ddp", "--trainer.accelerator", "cpu"]
    trained = run_script(folder, "train", "--model", "LinearRegression", "--data.batch_size", "7", *ddp)
    assert trained.returncode == 0, trained.stderr
    assert json.loads((folder / "lightning_logs" / "version_0" / "metrics.json").read_text())["gap/train_mse"] < 1e-9


def test_an_optimizer_beside_it_is_an_error(folder):
    done = run_script(folder, "train", "--model", "LinearRegression", "--optimizer", "Adam")
    assert done.returncode == 2
    assert "has no effect with the closed-form LinearRegression; remove it" in done.stderr


def test_rows_of_a_plain_loader_are_solved_as_those_of_a_data_module():
    data = SyntheticDataModule(features=2, batch_size=16)
    options = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    solved = [ClosedForm((2,), 1, alpha=3.0) for _ in range(2)]
    Trainer(**options).fit(solved[0], data)
    Trainer(**options).fit(solved[1], DataLoader(TensorDataset(data.splits.train.x, data.splits.train.y), batch_size=7))
    torch.testing.assert_close(solved[0].fit.weights, solved[1].fit.weights, rtol=1e-6, atol=0)
    torch.testing.assert_close(solved[0].equation.weights, solved[1].equation.weights)
