"""Modules, models and data modules that know nothing of this project, in every command that takes them."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from project import load
from project.exporting.export import export
from project.inference.evaluate import evaluate
from project.inference.predict import predict
from project.models.regression import Regression
from project.runs.checkpoint import load_run, read_checkpoint
from project.runtime.errors import UserError
from project.stages.distill import distill
from project.stages.finetune import finetune
from project.stages.prune import prune
from project.training.train import train
from tests.command import run_script
from tests.scripts.test_exact_resume import stop_at
from tests.scripts.test_tensorboard import read_scalars

SOURCE = """
import torch
from lightning import LightningDataModule, LightningModule
from torch import nn
from torch.utils.data import DataLoader, TensorDataset, random_split


class Plain(nn.Module):
    def __init__(self, width=8, out_features=1, in_features=3):
        super().__init__()
        self.body, self.last = nn.Linear(in_features, width), nn.Linear(width, out_features)

    def forward(self, x):
        return self.last(torch.relu(self.body(x)))


class Broken(nn.Module):
    def __init__(self, in_shape, out_features):
        super().__init__()
        {}["width"]


class Data(LightningDataModule):
    def __init__(self, batch_size: int = 16):
        super().__init__()
        self.batch_size = batch_size

    def setup(self, stage):
        generator = torch.Generator().manual_seed(0)
        x = torch.randn(200, 3, generator=generator) * 4 + 50
        y = x @ torch.tensor([[1.0], [2.0], [-1.0]]) + torch.randn(200, 1, generator=generator)
        self.parts = random_split(TensorDataset(x, y), [0.6, 0.2, 0.2])

    def train_dataloader(self):
        return DataLoader(self.parts[0], self.batch_size, shuffle=True)

    def val_dataloader(self):
        return DataLoader(self.parts[1], self.batch_size)

    def test_dataloader(self):
        return DataLoader(self.parts[2], self.batch_size)


class Dicts(Data):
    def train_dataloader(self):
        return DataLoader([{"x": x, "y": y} for x, y in self.parts[0]], self.batch_size, shuffle=True)


class TwoOptimizers(LightningModule):
    def __init__(self):
        super().__init__()
        self.automatic_optimization = False
        self.first, self.second = nn.Linear(3, 4), nn.Linear(4, 1)

    def training_step(self, batch, batch_idx):
        for optimizer in self.optimizers():
            optimizer.zero_grad()
            loss = nn.functional.mse_loss(self.second(self.first(batch["x"]).relu()), batch["y"])
            self.manual_backward(loss)
            optimizer.step()

    def configure_optimizers(self):
        rates = {self.first: 1e-5, self.second: 1e-4}
        return [torch.optim.SGD(part.parameters(), lr=rate) for part, rate in rates.items()]


class Lit(LightningModule):
    def __init__(self, width: int = 8):
        super().__init__()
        self.save_hyperparameters()
        self.net = nn.Sequential(nn.Linear(3, width), nn.ReLU(), nn.Dropout(0.3), nn.Linear(width, 1))

    def forward(self, x):
        return self.net(x)

    def loss(self, batch, name):
        x, y = batch
        loss = nn.functional.mse_loss(self(x), y)
        self.log(name, loss, on_epoch=True, on_step=False)
        return loss

    def training_step(self, batch, batch_idx):
        return self.loss(batch, "train_loss")

    def validation_step(self, batch, batch_idx):
        self.loss(batch, "val_loss")

    def test_step(self, batch, batch_idx):
        self.loss(batch, "test_loss")

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=0.01)
"""
EPOCHS = ["--trainer.max_epochs", "3", "--epoch_line.every_n_epochs", "0"]
TRUST = ["--trust", "outside"]
MODULE = ["--model.net", "outside.Plain", "--model.net.width", "5"]
MODEL = ["--model", "outside.Lit"]
DATA = ["--data", "outside.Data"]
OURS = ["--data.features", "3", "--data.rows", "150"]
COMBINATIONS = {
    "module": [*MODULE, *OURS, "--trainer.gradient_clip_val", "1e6"],  # single steps
    "data": DATA,
    "model": [*MODEL, *OURS],
    "module and data": [*MODULE, *DATA],
    "model and data": [*MODEL, *DATA],
}
RUN = "lightning_logs/version_0"


@pytest.fixture(autouse=True)
def outside(folder):
    (folder / "outside.py").write_text(SOURCE)


ALONE = ("module", "data", "model", "module and data")  # the quick suite has a model with data


@pytest.fixture(params=[pytest.param(name, marks=pytest.mark.slow if name in ALONE else []) for name in COMBINATIONS])
def args(request):
    return [*COMBINATIONS[request.param], *EPOCHS, *TRUST]


def test_a_run_is_trained_evaluated_exported_and_predicts(folder, capsys, args):
    metrics = train(args)
    tested, rows = evaluate(RUN, TRUST)
    shared = tested.keys() & metrics.keys()
    assert rows > 0
    assert shared
    assert {name: tested[name] for name in shared} == pytest.approx({name: metrics[name] for name in shared})
    exported = export(RUN, args=TRUST)
    x = torch.tensor([[48.0, 52.0, 50.0], [1.0, 2.0, 3.0]])
    names = read_checkpoint(Path(RUN, "checkpoints/best.ckpt"))["data"]["feature_names"]
    Path("in.csv").write_text("\n".join([",".join(names), *(",".join(map(str, row)) for row in x.tolist())]) + "\n")
    expected = load_run(RUN)(x).flatten().tolist()
    for source in (RUN, str(exported.path)):
        predict(source, Path("in.csv"), Path("out.csv"), ["outside"])
        with Path("out.csv").open() as file:
            assert [float(row["y_predicted"]) for row in csv.DictReader(file)] == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("steps", [3, pytest.param(10, marks=pytest.mark.slow)])
def test_a_resumed_run_equals_an_uninterrupted_one(folder, capsys, monkeypatch, args, steps):
    train(args)
    with monkeypatch.context() as patch:
        stop_at(patch, steps)
        with pytest.raises(SystemExit):
            train(args)
    train(["--ckpt_path", "lightning_logs/version_1", *TRUST])
    for name in ("best.ckpt", "last.ckpt"):
        whole, resumed = (read_checkpoint(Path(f"lightning_logs/version_{run}/checkpoints/{name}")) for run in (0, 1))
        assert whole["global_step"] == resumed["global_step"]
        assert all(torch.equal(value, resumed["state_dict"][key]) for key, value in whole["state_dict"].items())
    tables = [json.loads(Path(f"lightning_logs/version_{run}/metrics.json").read_text()) for run in (0, 1)]
    timing = {"seconds/fit", "rows_per_second"}
    assert {k: v for k, v in tables[0].items() if k not in timing} == {
        k: v for k, v in tables[1].items() if k not in timing
    }


def test_a_model_with_batches_and_optimizers_of_its_own_resumes_exactly(folder, capsys, monkeypatch):
    args = ["--model", "outside.TwoOptimizers", "--data", "outside.Dicts", *EPOCHS, *TRUST]
    train(args)
    with monkeypatch.context() as patch:
        stop_at(patch, 20)
        with pytest.raises(SystemExit):
            train(args)
    train(["--ckpt_path", "lightning_logs/version_1", *TRUST])
    whole, resumed = (
        read_checkpoint(Path(f"lightning_logs/version_{run}/checkpoints/last.ckpt"))["state_dict"] for run in (0, 1)
    )
    assert all(torch.equal(value, resumed[name]) for name, value in whole.items())
    assert "Nothing was tested: TwoOptimizers has no test_step" in capsys.readouterr().out
    with pytest.raises(UserError, match="has no test_step that logs metrics; add one"):
        evaluate(RUN, TRUST)
    with pytest.raises(UserError, match="its data has no rows of one shape, which predictions and export need"):
        predict(RUN, Path("outside.py"), Path("out.csv"), ["outside"])


@pytest.mark.slow
def test_a_plain_network_is_fine_tuned_pruned_and_distilled(folder, capsys):
    train([*COMBINATIONS["module and data"], *EPOCHS, *TRUST])
    finetune(RUN, lora=2, args=[*TRUST, *EPOCHS])
    prune(RUN, sparsity=0.5, args=[*TRUST, *EPOCHS])
    state = read_checkpoint(Path("lightning_logs/version_2/checkpoints/best.ckpt"))["state_dict"]
    matrices = torch.cat([value.flatten() for name, value in state.items() if value.ndim == 2])
    assert int((matrices == 0).sum()) == round(0.5 * len(matrices))
    student = distill(RUN, args=[*TRUST, *EPOCHS])["student"]
    assert student["test/mse"] == pytest.approx(evaluate("lightning_logs/version_3", TRUST)[0]["test/mse"])
    assert isinstance(load_run("lightning_logs/version_3"), Regression)


@pytest.mark.parametrize(
    ("stage", "message"),
    [
        (finetune, "--model Lit: has no `net` for --weights.path"),
        (lambda run, args: prune(run, sparsity=0.5, args=args), "--model Lit: has no `net` for pruning"),
        (distill, "--model: Lit cannot learn from a teacher"),
        (lambda run, args: finetune(run, lora=2, args=args), "--model: Lit has no argument 'net'; pass its network to"),
    ],
)
def test_a_stage_that_needs_more_than_a_plain_model_has_says_what(folder, capsys, stage, message):
    train([*COMBINATIONS["model"], *EPOCHS, *TRUST])
    with pytest.raises(UserError, match=message):
        stage(RUN, args=TRUST)


def test_a_flag_replaces_the_optimizer_of_a_plain_model(folder, capsys):
    for flags in ([], ["--optimizer", "RMSprop"]):
        train([*COMBINATIONS["model"], *EPOCHS, *TRUST, *flags])
    states = [
        read_checkpoint(Path(f"lightning_logs/version_{run}/checkpoints/last.ckpt"))["optimizer_states"][0]["state"][0]
        for run in (0, 1)
    ]
    assert ["exp_avg" in state for state in states] == [True, False]
    assert "square_avg" in states[1]


def test_batches_without_x_and_y_are_an_error_for_a_model_that_needs_them(folder):
    with pytest.raises(
        UserError, match=r"--data Dicts: its batches must be \(x, y\) .*, got dict; use your own --model"
    ):
        train(["--data", "outside.Dicts", *EPOCHS, *TRUST])


def test_cross_validation_of_a_plain_data_module_is_refused(folder):
    with pytest.raises(UserError, match="--data Data: --sampling needs a data module of this project"):
        train([*DATA, *EPOCHS, *TRUST, "--sampling.folds", "2", "--sampling.fold", "0"])


def test_an_exception_in_a_constructor_keeps_its_traceback(folder):
    with pytest.raises(KeyError, match="width"):
        train(["--model.net", "outside.Broken", *EPOCHS, *TRUST])


def test_the_exact_solution_for_a_plain_data_module_is_numpys(folder, capsys):
    train([*DATA, "--model", "LinearRegression", *TRUST])
    rows = load(RUN, trust=["outside"]).data.splits.train
    design = np.column_stack([rows.x.double(), np.ones(len(rows))])
    expected = np.linalg.lstsq(design, rows.y.double().numpy(), rcond=None)[0].flatten()
    with Path(RUN, "coefficients.csv").open() as file:
        found = {line["name"]: float(line["coefficient"]) for line in csv.DictReader(file)}
    assert list(found) == ["x0", "x1", "x2", "bias"]
    assert list(found.values()) == pytest.approx(expected, rel=1e-6), "the fit is of the order of the training rows"


def test_a_schedule_without_an_optimizer_is_refused_for_a_model_with_its_own(folder):
    with pytest.raises(UserError, match="--lr_scheduler: Lit has an optimizer of its own; set --optimizer, too"):
        train([*COMBINATIONS["model"], *EPOCHS, *TRUST, "--lr_scheduler", "StepLR", "--lr_scheduler.step_size", "1"])


def test_the_best_checkpoint_of_a_plain_model_is_that_of_its_lowest_validation_loss(folder, capsys):
    epochs = ["--trainer.max_epochs", "6", "--trainer.check_val_every_n_epoch", "2"]
    train([*COMBINATIONS["model and data"], *EPOCHS, *TRUST, *epochs])
    scores = dict(read_scalars(Path(RUN))["val_loss"])
    best = read_checkpoint(Path(RUN, "checkpoints/best.ckpt"))
    [state] = [state for name, state in best["callbacks"].items() if name.startswith("BestCheckpoint")]
    assert state["monitor"] == "val_loss"
    assert state["best_model_score"].item() == pytest.approx(min(scores.values()))


@pytest.mark.parametrize("name", ["BoringModel", "ManualOptimBoringModel", "DemoModel"])
def test_lightnings_own_demos_are_trained_and_resumed(folder, capsys, name):
    module = "lightning.pytorch.demos.boring_classes"
    args = ["--model", f"{module}.{name}", "--data", f"{module}.BoringDataModule", "--trust", module]
    train([*args, *EPOCHS])
    train(["--ckpt_path", "last", "--trainer.max_epochs", "4", "--trust", module])
    assert f"Nothing was tested: {name}" in capsys.readouterr().out
    assert read_checkpoint(Path(RUN, "checkpoints/last.ckpt"))["epoch"] == 4


def test_test_metrics_have_one_form_of_names(folder, capsys):
    logs = 'self.loss(batch, "test_loss")'
    Path("outside.py").write_text(SOURCE.replace(logs, f'self.log("mae", 2.0); {logs}'))
    args = [*COMBINATIONS["model"], *EPOCHS, *TRUST]
    done = run_script(folder, "train", *args)
    assert done.returncode == 0, done.stderr
    metrics = json.loads(Path(RUN, "metrics.json").read_text())
    assert metrics["test/mae"] == 2
    assert metrics.keys() >= {"train_loss", "val_loss", "test/loss"}
    assert "step" not in metrics
