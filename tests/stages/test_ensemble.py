"""Several runs as one, and several members trained in one fit."""

import json
from pathlib import Path

import pytest
import torch

from project.data import SyntheticDataModule
from project.inference.evaluate import evaluate
from project.runs.checkpoint import load_model, read_checkpoint
from project.runs.folder import find_checkpoint
from project.runtime.errors import UserError
from project.stages.ensemble import combine, train_jointly
from project.stages.finetune import finetune
from project.training.train import train
from tests.command import run_script
from tests.trained import trained

QUIET = ["--epoch_line.every_n_epochs", "0"]
SHORT = ["--data.features", "3", "--data.rows", "60", "--trainer.max_epochs", "3", *QUIET]
MLP = ["--model.net", "MLP", "--model.net.hidden", "[8]"]


def load(number):
    return load_model(read_checkpoint(find_checkpoint(f"lightning_logs/version_{number}", "last.ckpt")))


def test_runs_become_one_whose_prediction_is_the_mean_of_theirs(folder, capsys):
    train([*SHORT, *MLP])
    train([*SHORT, "--data.seed", "1"])  # another net, and other statistics of its rows
    metrics = combine(["lightning_logs/version_0", "lightning_logs/version_1"])
    test = SyntheticDataModule(rows=60, features=3).splits.test
    best = [load_model(read_checkpoint(find_checkpoint(f"lightning_logs/version_{k}"))) for k in (0, 1)]
    with torch.no_grad():
        each = torch.stack([model(test.x) for model in best])
        torch.testing.assert_close(load(2)(test.x), each.mean(0))
        torch.testing.assert_close(load(2).net.spread(test.x), each.std(0, correction=0))
    assert metrics["test/mse"] == pytest.approx((each.mean(0) - test.y).square().mean().item(), rel=1e-5)
    assert json.loads(Path("lightning_logs/version_2/metrics.json").read_text()) == metrics
    assert evaluate("lightning_logs/version_2")[0]["test/mse"] == pytest.approx(metrics["test/mse"], rel=1e-6)
    train(["--config", "lightning_logs/version_2/config.yaml"])  # as every run's, it makes the same run again
    assert all(value.equal(load(3).state_dict()[name]) for name, value in load(2).state_dict().items())


TABLE = ["--data.features", "3", "--data.rows", "60"]


@pytest.mark.parametrize(
    "args",
    [
        pytest.param(TABLE, marks=pytest.mark.slow),
        pytest.param([*TABLE, *MLP], marks=pytest.mark.slow),
        ["--data", "SeriesDataModule", "--data.rows", "200", "--model.net", "RNN"],
    ],
    ids=["linear", "mlp", "rnn"],
)
def test_members_trained_jointly_are_those_trained_one_by_one(folder, capsys, args):
    args = [*args, "--trainer.max_epochs", "3", *QUIET]
    for seed in ("0", "1", "2"):
        train([*args, "--seed_everything", seed, "--sampling.bootstrap", seed])
    train_jointly(3, True, args)
    members = load(3).net.net.members
    for k, member in enumerate(members):
        torch.testing.assert_close(member.state_dict(), load(k).net.net.state_dict(), rtol=1e-5, atol=1e-6)
    weights = [next(iter(member.parameters())) for member in members]
    assert not torch.allclose(weights[0], weights[1])


@pytest.mark.slow
def test_joint_training_resumes_as_if_never_interrupted(folder, capsys):
    args = ["--data.features", "3", "--data.rows", "60", *QUIET, *MLP]
    train_jointly(3, True, [*args, "--trainer.max_epochs", "4"])
    train_jointly(3, True, [*args, "--trainer.max_epochs", "2"])
    train(["--ckpt_path", "last", "--trainer.max_epochs", "4"])
    whole, resumed = (load(number).state_dict() for number in (0, 1))
    assert all(value.equal(resumed[name]) for name, value in whole.items())


@pytest.mark.slow
def test_an_ensemble_is_fine_tuned_and_combined_again(folder, capsys):
    train_jointly(2, False, [*SHORT, *MLP])
    metrics = finetune("lightning_logs/version_0", args=["--finetuning.freeze", "[backbone]"])
    assert metrics["parameters/frozen_change"] == 0.0
    assert metrics["parameters/trained"] == 2 * 9
    combine(["lightning_logs/version_0", "lightning_logs/version_1"])
    x = torch.randn(5, 3)
    both = [load_model(read_checkpoint(find_checkpoint(f"lightning_logs/version_{k}")))(x) for k in (0, 1)]
    torch.testing.assert_close(load(2)(x), (both[0] + both[1]) / 2)


@pytest.mark.parametrize(
    ("other", "told"),
    [
        (["--data.features", "2"], r"its shape of a row: \(2,\), of lightning_logs/version_0: \(3,\)"),
        (["--data", "FriedmanDataModule"], "its shape of a row|its features"),
    ],
)
def test_runs_of_different_tasks_are_refused(folder, capsys, other, told):
    trained(SHORT)
    train(["--trainer.max_epochs", "1", *QUIET, *other])
    with pytest.raises(UserError, match=told):
        combine(["lightning_logs/version_0", "lightning_logs/version_1"])
    assert len(list(Path("lightning_logs").iterdir())) == 2


def test_a_run_is_a_member_once(folder, capsys):
    trained(SHORT)
    with pytest.raises(UserError, match="lightning_logs/version_0: is already a member"):
        combine(["last", "lightning_logs/version_0"])


@pytest.mark.parametrize(
    ("args", "told"),
    [
        (
            ["one", "two", "--members", "3"],
            "--members and --bootstrap train copies of one network; pass either them or runs",
        ),
        (
            ["one", "two", "--bootstrap"],
            "--members and --bootstrap train copies of one network; pass either them or runs",
        ),
        (["one"], "pass two runs or more, with flags after them, or --members K to train copies"),
        (["--members", "3", "one"], "one: not the value of a flag; put runs and files first, and lists in quotes"),
        (["--members", "2.5"], "--members: must be an integer, 2 or more, got 2.5"),
        (["--members", "3", "--model", "LinearRegression"], "LinearRegression has a closed form"),
    ],
)
def test_a_mistake_on_the_command_line_is_told_in_one_line(folder, args, told):
    done = run_script(folder, "ensemble", *args)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert done.stderr.startswith(f"error: {told}")


def test_members_that_start_alike_and_would_stay_so_are_refused(folder, capsys):
    for args in (["--model.net.copies", "3"], ["--model.net.copies", "3", "--model.net.vectorize", "false"]):
        with pytest.raises(UserError, match="members have the same initial weights.*--sampling.bootstrap 0"):
            train([*SHORT, "--model.net", "Ensemble", "--model.net.nets+=Linear", *args])
    assert not list(Path("lightning_logs").iterdir())
    train_jointly(2, True, SHORT)
    assert load(0).net.spread(torch.ones(1, 3)).item() > 0
