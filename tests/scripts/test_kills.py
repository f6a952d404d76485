"""A command that is killed leaves whole files or none, and the next one finds nothing of it."""

import os
import random
import shutil
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path

import pytest

from project.inference.predict import predict
from project.training.train import train
from tests.command import Command, run_script
from tests.scripts.test_stops import wait_for
from tests.trained import trained

SHORT = ["--epoch_line.every_n_epochs", "0", "--trainer.max_epochs", "2", "--data.rows", "200"]
COMMANDS = {
    "predict": ["last", "rows.csv", "out.csv"],
    "export": ["last", "out.onnx"],
    "quantize": ["model.onnx", "out.onnx"],
    "evaluate": ["last", "model.onnx", "--plot", "out.svg"],
    "prune": ["lightning_logs/version_0", "--structured", "0.5", "--trainer.max_epochs", "2"],
    "distill": ["lightning_logs/version_0", "--model.net", "Linear", "--trainer.max_epochs", "2"],
    "ensemble": ["--members", "2", "--model.net", "MLP", *SHORT],
    "crossvalidate": [*SHORT],
    "sweep": ["--search.optimizer.lr", "log(0.001, 0.1)", "--trials", "2", "--folder", "sweep", *SHORT],
}
KILLS = 34  # of each command, about 300 together


def leftovers(folder: Path) -> list[Path]:
    return [path for path in folder.rglob(".*") if path.suffix in (".csv", ".onnx", ".svg")]


def ends(folder: Path) -> dict[str, object]:
    """Where each output ends: at its size, or as a figure, whose timings differ, with its last tag."""
    paths = folder.glob("out.*")
    return {path.name: path.read_bytes()[-7:] if path.suffix == ".svg" else path.stat().st_size for path in paths}


def test_a_killed_prediction_leaves_nothing_once_it_is_repeated(folder, table, capsys):
    path = table(rows=300_000)
    few = str(table(rows=100, name="few.csv"))
    train(["--data", "TabularDataModule", "--data.path", few, "--data.target", "y", *SHORT[:4]])
    command = Command(folder, "predict", "last", path, "out.csv")
    wait_for(lambda: leftovers(folder))
    os.kill(command.pid, signal.SIGKILL)
    assert command.finish().returncode == -signal.SIGKILL
    assert not (folder / "out.csv").exists()
    assert predict("last", path, folder / "out.csv") == 300_000
    assert leftovers(folder) == []
    assert (folder / "out.csv").read_text().count("\n") == 300_001


@pytest.mark.slow
@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_that_was_killed_at_any_moment_can_be_repeated(folder, name, capsys):
    trained([*SHORT, "--model.net", "MLP"])
    assert run_script(folder, "export", "last", "model.onnx").returncode == 0
    (folder / "rows.csv").write_text("x\n" + "1.5\n" * 1_000)
    durations, moments = [], random.Random(0)
    for _ in range(2):  # fonts are found, or a machine is busy, in one of them
        started = time.monotonic()
        assert run_script(folder, name, *COMMANDS[name]).returncode == 0
        durations.append(time.monotonic() - started)
    whole = ends(folder)
    for _ in range(KILLS):
        for output in folder.glob("out.*"):
            output.unlink()
        shutil.rmtree(folder / "sweep", ignore_errors=True)  # its next command would have nothing to do
        command = Command(folder, name, *COMMANDS[name])
        with suppress(subprocess.TimeoutExpired):  # if it is not quicker this time
            command.finish(timeout=moments.uniform(0, min(durations)))
        command.finish()
        assert ends(folder) in ({}, whole)
    done = run_script(folder, name, *COMMANDS[name])
    assert done.returncode == 0, done.stderr
    assert leftovers(folder) == []
    assert [*folder.glob("out.*")] or name in ("prune", "distill", "ensemble", "crossvalidate", "sweep")
    for run in {path.parent.parent for path in folder.glob("**/checkpoints/last.ckpt")}:
        assert run_script(folder, "evaluate", run).returncode == 0, run
