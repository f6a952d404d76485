import math
from pathlib import Path

import pytest
import yaml

from project.callbacks.found_settings import rate_problem
from project.runs.checkpoint import read_checkpoint
from project.training.train import train

BASE = ["--data.rows", "60", "--data.features", "2", "--data.batch_size", "10", "--trainer.max_epochs", "6"]
BASE += ["--epoch_line.every_n_epochs", "0", "--trainer.enable_progress_bar", "false"]
RATE = ["--trainer.callbacks+", "LearningRateFinder", "--trainer.callbacks.min_lr", "0.01"]
RATE += ["--trainer.callbacks.num_training_steps", "30"]
SIZE = ["--trainer.callbacks+", "BatchSizeFinder", "--trainer.callbacks.max_trials", "3"]
RUN = Path("lightning_logs/version_0")
PLAIN = """
import torch
from lightning.pytorch import LightningModule

class Mine(LightningModule):
    def __init__(self, in_shape: tuple[int, ...], learning_rate: float = 0.5):
        super().__init__()
        self.save_hyperparameters()
        self.layer = torch.nn.Linear(in_shape[0], 1)

    def forward(self, x):
        return self.layer(x)

    def training_step(self, batch, batch_idx):
        loss = torch.nn.functional.mse_loss(self(batch[0]), batch[1])
        self.log("train_loss", loss)
        return loss

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), self.hparams.learning_rate)
"""


def settings():
    """The settings of the run in its folder; they are those of its checkpoint."""
    text = (RUN / "config.yaml").read_text()
    assert read_checkpoint(RUN / "checkpoints/last.ckpt")["config"] == text
    return yaml.safe_load(text)


def weights():
    return read_checkpoint(RUN / "checkpoints/last.ckpt")["state_dict"]


@pytest.mark.parametrize(
    "finders",
    [*(pytest.param(flags, marks=pytest.mark.slow) for flags in (RATE, SIZE)), [*SIZE, *RATE]],
    ids=["rate", "size", "both"],
)
def test_what_finders_find_is_reported_and_part_of_the_run(folder, capsys, finders):
    train([*BASE, *finders])
    printed, found = capsys.readouterr().out, settings()
    rate, size = found["optimizer"]["init_args"]["lr"], found["data"]["init_args"]["batch_size"]
    assert found["trainer"]["callbacks"] is None  # a search is not repeated
    assert (f"Learning rate found: {rate:.3g} (--optimizer.lr)" in printed) == (RATE[1] in finders) == (rate != 0.01)
    assert (f"Batch size found: {size} (--data.batch_size)" in printed) == (SIZE[1] in finders) == (size != 10)
    logged = yaml.safe_load((RUN / "hparams.yaml").read_text())
    assert (logged["optimizer.lr"], logged["data.batch_size"]) == (rate, size)
    [group] = read_checkpoint(RUN / "checkpoints/last.ckpt")["optimizer_states"][0]["param_groups"]
    assert group["lr"] == rate


@pytest.mark.slow
@pytest.mark.parametrize("finders", [RATE, pytest.param(SIZE, marks=pytest.mark.slow)], ids=["rate", "size"])
def test_what_finders_find_survives_a_resume(folder, capsys, finders):
    train([*BASE, *finders])
    whole, found = weights(), settings()
    (RUN).rename("whole")
    train([*BASE, *finders, "--trainer.max_steps", "4"])
    train(["--ckpt_path", "last", "--trainer.max_steps", "-1"])
    assert all(value.equal(weights()[name]) for name, value in whole.items())
    assert {name: settings()[name] for name in ("optimizer", "data")} == {n: found[n] for n in ("optimizer", "data")}


@pytest.mark.slow
def test_training_with_the_settings_that_were_found_repeats_the_run(folder, capsys):
    train([*BASE, *SIZE, *RATE])
    whole = weights()
    RUN.rename("whole")
    train(["--config", "whole/config.yaml"])
    assert all(value.equal(weights()[name]) for name, value in whole.items())


def test_a_rate_of_a_model_that_builds_its_own_optimizer_is_its_argument(folder, capsys):
    Path("mine.py").write_text(PLAIN)
    train(["--trust", "mine", "--model", "mine.Mine", *BASE, *RATE])
    rate = settings()["model"]["init_args"]["learning_rate"]
    assert rate != 0.5
    assert f"Learning rate found: {rate:.3g} (--model.learning_rate)" in capsys.readouterr().out


def test_a_search_that_is_too_short_keeps_the_rate_that_is_set(folder, capsys):
    with pytest.warns(UserWarning, match="LearningRateFinder found no learning rate: it needs more steps"):
        train([*BASE, *RATE, "--trainer.callbacks.num_training_steps", "5"])
    assert settings()["optimizer"]["init_args"]["lr"] == 0.01


RATES = [10 ** (k / 10 - 6) for k in range(61)]  # from 1e-6 to 1
VALLEY = [1 + 0.2 * (math.log10(rate) + 1) ** 2 for rate in RATES]  # lowest at 0.1


@pytest.mark.parametrize(
    ("rate", "losses", "problem"),
    [
        (1e-5, VALLEY, r"is too low to learn: the loss is lowest at 0.1; set --optimizer.lr 0.01"),
        (0.5, VALLEY, r"is too high: the loss is lowest at 0.1; set --optimizer.lr 0.01"),
        (1e-5, [1.0] * 61, r"does not help: no rate up to 1 lowers the loss; raise --trainer.callbacks.max_lr"),
        (0.01, VALLEY, None),
        (0.01, [math.nan] * 61, None),
    ],
)
def test_a_bad_rate_is_called_bad(rate, losses, problem):
    assert rate_problem(rate, RATES, losses) == problem
