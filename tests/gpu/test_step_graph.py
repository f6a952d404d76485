"""Optimizer steps that are captured as a CUDA graph."""

import warnings

import pytest
import torch

from project.runs.checkpoint import read_checkpoint
from project.training.train import train
from tests.command import REPOSITORY
from tests.scripts.test_exact_resume import BASE, MLP

pytestmark = pytest.mark.gpu
QUIET = ["--epoch_line.every_n_epochs", "0"]
gpu = torch.cuda.is_available()


def weights(run):
    return read_checkpoint(run / "checkpoints/last.ckpt")["state_dict"]


CAPTURED = {
    "sgd": ["--model.net", "MLP", "--optimizer.momentum", "0.9"],
    "adam, dropout, a schedule": [
        *("--model.net", "MLP", "--model.net.dropout", "0.3", "--optimizer", "Adam", "--optimizer.capturable", "true"),
        *("--lr_scheduler", "StepLR", "--lr_scheduler.step_size", "1", "--lr_scheduler.gamma", "0.5"),
    ],
    "pruning": ["--model.net", "MLP", "--pruning.sparsity", "0.5"],
    "layers that thaw": [
        *("--model.net", "MLP", "--model.net.hidden", "[8, 8]"),
        *("--finetuning.freeze", "[backbone]", "--finetuning.unfreeze_every", "1"),
    ],
    "penalties": ["--model.l1", "0.01", "--model.l2", "0.01"],
    "ensemble": ["--model.net", "Ensemble", "--model.net.nets", "[MLP]", "--model.net.copies", "3"],
}


@pytest.mark.parametrize("way", CAPTURED)
def test_captured_steps_are_those_without_a_graph_to_the_last_bit(folder, capsys, way):
    args = ["--data.rows", "1990", "--data.features", "3", "--trainer.max_epochs", "3", *QUIET, *CAPTURED[way]]
    plain = train(args)
    captured = train([*args, "--model.cuda_graph", "true"])
    before, after = (weights(folder / f"lightning_logs/version_{number}") for number in range(2))
    assert all(value.equal(after[name]) for name, value in before.items())
    names = [name for name in plain if not name.endswith(("seconds/fit", "per_second"))]
    assert [captured[name] for name in names] == [plain[name] for name in names]


@pytest.mark.parametrize("name", ["digits_cnn", "digits_lstm", "series_transformer", "seq2seq"])
def test_captured_experiments_learn_what_they_learn_without_a_graph(folder, capsys, name):
    args = ["--config", str(REPOSITORY / f"scripts/experiments/{name}.yaml"), *QUIET, "--trainer.max_epochs", "2"]
    losses = [train([*args, "--model.cuda_graph", value])["train/loss"] for value in ("false", "true")]
    assert losses[1] == pytest.approx(losses[0], rel=2e-3)


def test_a_captured_run_continues_on_the_cpu_and_again_on_the_gpu(folder, capsys):
    args = [*BASE, "--optimizer", "Adam", *MLP, "--model.cuda_graph", "true"]
    for number, accelerator in enumerate(["auto", "cpu", "auto"], start=1):
        start = args if number == 1 else ["--ckpt_path", "last"]
        metrics = train([*start, "--trainer.max_epochs", str(2 * number), "--trainer.accelerator", accelerator])
    whole = train([*args, "--trainer.max_epochs", "6"])  # another dropout
    assert metrics["train/loss"] == pytest.approx(whole["train/loss"], rel=0.2)


def test_an_optimizer_that_cannot_be_captured_is_reported_and_trains(folder, capsys):
    args = [*BASE, "--optimizer", "Adagrad", "--optimizer.lr", "0.01"]
    plain = train(args)
    with warnings.catch_warnings(record=True) as shown:
        warnings.simplefilter("always")
        captured = train([*args, "--model.cuda_graph", "true"])
    assert captured["train/loss"] == plain["train/loss"]
    assert any("Adagrad cannot be captured" in str(warning.message) for warning in shown) == gpu
