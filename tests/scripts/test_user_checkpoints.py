"""What a callback of the user's saves never takes the place of the run's files, and never decides what is tested."""

import json
from pathlib import Path

import pytest

from project.runs.checkpoint import read_checkpoint
from project.runs.folder import find_checkpoint
from project.runtime.errors import UserError
from project.training.train import train
from tests.trained import trained

BASE = ["--data.features", "2", "--data.rows", "40", "--data.batch_size", "10", "--trainer.max_epochs", "3"]
BASE += ["--epoch_line.every_n_epochs", "0"]
WHOLE, RUN = Path("lightning_logs/whole"), Path("lightning_logs/version_0")


def saving(**options):
    """Return the flags of a ModelCheckpoint."""
    flags = [arg for name, value in options.items() for arg in (f"--trainer.callbacks.{name}", str(value))]
    return ["--trainer.callbacks+", "ModelCheckpoint", *flags]


def result(run):
    """Return the run's own weights, and its test loss up to the rounding of batches that are put together."""
    states = [read_checkpoint(run / "checkpoints" / name)["state_dict"] for name in ("best.ckpt", "last.ckpt")]
    loss = json.loads((run / "metrics.json").read_text())["test/loss"]
    return [{name: value.tolist() for name, value in state.items()} for state in states], pytest.approx(loss)


@pytest.mark.parametrize(
    ("callbacks", "files"),
    [
        (saving(filename="{epoch}", save_last="true"), {"epoch=2.ckpt", "last.ckpt"}),
        (saving(filename="best", monitor="val/loss", mode="max"), {"best.ckpt"}),
        (saving(filename="previous", every_n_train_steps=1, save_top_k=-1), {"previous.ckpt"}),
        (
            [*saving(monitor="val/mse", save_top_k=2), *saving(monitor="train/r2", mode="max", filename="best")],
            {"best.ckpt"},
        ),
    ],
    ids=["last", "the worst as best", "previous at each step", "two"],
)
def test_what_a_callback_of_the_users_saves_lies_beside_the_runs_own_files(folder, capsys, callbacks, files):
    trained(BASE, "whole")
    train([*BASE, *callbacks])
    assert result(RUN) == result(WHOLE)
    assert {path.name for path in (RUN / "checkpoints/user").iterdir()} >= files
    assert {path.name for path in (RUN / "checkpoints").iterdir()} == {
        "best.ckpt",
        "last.ckpt",
        "previous.ckpt",
        "user",
    }
    assert find_checkpoint("last") == RUN / "checkpoints/best.ckpt"


def test_a_run_is_resumed_from_a_checkpoint_that_a_callback_of_the_users_saved(folder, capsys):
    trained(BASE, "whole")
    train([*BASE, *saving(filename="{epoch}", save_top_k=-1), "--trainer.max_epochs", "2"])
    saved = RUN / "checkpoints/user/epoch=0.ckpt"
    train(["--ckpt_path", str(saved), "--trainer.max_epochs", "3"])
    assert result(RUN) == result(WHOLE)
    assert not Path("lightning_logs/version_1").exists()


def test_a_callback_that_would_write_among_the_runs_own_checkpoints_is_refused(folder, capsys):
    with pytest.raises(
        UserError, match="--trainer.callbacks.dirpath .*ModelCheckpoint must not write among the run's own"
    ):
        train([*BASE, *saving(dirpath="lightning_logs/version_0/checkpoints")])
    assert not RUN.exists()
