"""Small runs to prune, and what is in them."""

from pathlib import Path

import numpy as np
import yaml

from project.runs.checkpoint import read_checkpoint

QUIET = ["--epoch_line.every_n_epochs", "0"]
SMALL = ["--data.rows", "60", "--data.val_rows", "20", "--data.test_rows", "20", "--data.batch_size", "20", *QUIET]
TABLE = [*SMALL, "--data.features", "3", "--optimizer", "Adam", "--optimizer.lr", "0.01", "--trainer.max_epochs", "6"]
TABLE += ["--model.net", "MLP", "--model.net.hidden", "[8, 6]"]


def run(number):
    return f"lightning_logs/version_{number}"


def state(number, name="best"):
    return read_checkpoint(Path(run(number), "checkpoints", f"{name}.ckpt"))["state_dict"]


def config(number):
    return yaml.safe_load(Path(run(number), "config.yaml").read_text())


def weights(state):
    """All weight matrices as one vector: of an MLP, whose biases are its other parameters."""
    return np.concatenate([value.flatten().numpy() for name, value in state.items() if value.ndim > 1])


def zeros(number, name="best"):
    return int((weights(state(number, name)) == 0).sum())


def same(a, b):
    return a.keys() == b.keys() and all(value.equal(b[name]) for name, value in a.items())
