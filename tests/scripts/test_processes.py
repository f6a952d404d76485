"""Training on several processes gives the same results as on one."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from project.runs.checkpoint import read_checkpoint
from project.runtime.errors import UserError
from project.training.train import train
from tests.command import MAX_LENGTH, REPOSITORY, train_on
from tests.scripts.test_exact_resume import BASE, SINGLE, WAYS, assert_same, state, stop_at
from tests.scripts.test_stops import wait_for


@pytest.mark.parametrize("rows", [3, *(pytest.param(rows, marks=pytest.mark.slow) for rows in (5, 51, 101))])
def test_metrics_on_several_processes_equal_those_on_one(folder, rows):
    args = ["--data.rows", "60", "--data.test_rows", rows, "--trainer.max_epochs", "2", "--optimizer.lr", "0.1"]
    found = {}
    for processes in (1, 2, 3):
        done = train_on(folder, processes, *args, "--data.batch_size", 30 // processes)
        assert [rank.returncode for rank in done] == [0] * processes, done[0].stderr
        assert [rank.stdout for rank in done[1:]] == [""] * (processes - 1), "only rank 0 prints a report"
        metrics = json.loads((folder / f"lightning_logs/version_{processes - 1}/metrics.json").read_text())
        found[processes] = {name: value for name, value in metrics.items() if name.startswith(("test/", "val/"))}
    assert sorted(path.name for path in (folder / "lightning_logs").iterdir()) == [
        "version_0",
        "version_1",
        "version_2",
    ]
    assert found[2] == pytest.approx(found[1], rel=1e-6, abs=1e-6)
    assert found[3] == pytest.approx(found[1], rel=1e-6, abs=1e-6)


DIGITS = ["--model", "Classification", "--data", "DigitsDataModule", "--data.classes", "[0, 1, 2]"]
WEIGHTED = ["--model.loss", "CrossEntropyLoss", "--model.loss.weight", "[1.0, 5.0, 0.2]"]
IGNORED = ["--model.loss", "CrossEntropyLoss", "--model.loss.ignore_index", "1"]
PARTLY = ["--model", "DistilledClassification", "--model.teacher", "lightning_logs/version_0"]
PARTLY += ["--sampling.labels", "40", "--sampling.unlabelled", "true"]


@pytest.mark.slow
@pytest.mark.parametrize("args", [WEIGHTED, IGNORED, PARTLY], ids=["class weights", "an ignored class", "few labels"])
def test_rows_with_unequal_weights_are_learned_on_two_processes_as_on_one(folder, args):
    common = ["--optimizer.lr", "0.1", "--trainer.max_epochs", "2"]
    train_on(folder, 1, *DIGITS, *common)
    for processes in (1, 2):
        done = train_on(folder, processes, *DIGITS, *args, *common, "--data.batch_size", 30 // processes)
        assert [rank.returncode for rank in done] == [0] * processes, done[0].stderr
    one, two = (folder / f"lightning_logs/version_{number}" for number in (1, 2))
    weights = [read_checkpoint(run / "checkpoints/last.ckpt")["state_dict"] for run in (one, two)]
    torch.testing.assert_close(weights[1], weights[0], rtol=1e-5, atol=1e-6)
    metrics = [json.loads((run / "metrics.json").read_text()) for run in (one, two)]
    for name in ("train/loss", "val/loss", "test/loss"):
        assert metrics[1][name] == pytest.approx(metrics[0][name], rel=1e-5)


@pytest.mark.slow
def test_bits_per_byte_depend_neither_on_the_batch_size_nor_on_the_number_of_processes(folder):
    (folder / "song.txt").write_text("".join(f"{number} green bottles, {number % 7} left.\n" for number in range(600)))
    args = ["--data", "TextDataModule", "--data.path", "song.txt", "--data.context", "16", "--data.cache", "cache"]
    args += ["--data.tokenizer", "bytes", "--model.net.width", "16", "--model.net.layers", "1"]
    args += ["--model.net.zero_init", "false", "--optimizer", "AdamW", "--optimizer.lr", "0"]  # the weights stay
    args += ["--trainer.max_epochs", "1", "--trainer.limit_train_batches", "1"]
    found = []
    for number, (processes, batch) in enumerate([(1, 1), (1, 64), (2, 1), (2, 7), (2, 64)]):
        done = train_on(folder, processes, *args, "--data.batch_size", batch)
        assert [rank.returncode for rank in done] == [0] * processes, done[0].stderr
        metrics = json.loads((folder / f"lightning_logs/version_{number}/metrics.json").read_text())
        found.append([metrics[f"{split}/{name}"] for split in ("val", "test") for name in ("bits_per_byte", "loss")])
    assert all(figures == pytest.approx(found[0], rel=1e-12, abs=0) for figures in found)
    assert abs(found[0][0] - 8) > 0.01, "not the uniform distribution"


@pytest.mark.slow
def test_random_numbers_differ_between_processes(folder):
    args = ["--data.rows", "40", "--trainer.max_epochs", "1", "--data.batch_size", "5"]
    args += ["--model.net", "MLP", "--model.net.dropout", "0.5"]
    done = train_on(folder, 2, *args)
    assert [rank.returncode for rank in done] == [0, 0], done[0].stderr
    previous = folder / "lightning_logs/version_0/checkpoints/last.ckpt"
    assert read_checkpoint(previous)["exact_resume"]["random_states"] == [], "between epochs they are reseeded"
    done = train_on(folder, 2, *args, "--trainer.max_steps", "2")
    states = read_checkpoint(folder / "lightning_logs/version_1/checkpoints/last.ckpt")["exact_resume"]["random_states"]
    assert len(states) == 2
    assert not states[0]["cpu"].equal(states[1]["cpu"])


def test_a_run_that_torchrun_restarts_continues_after_its_last_checkpoint(folder, monkeypatch, capsys):
    args = [*SINGLE, "--data.rows", "40", "--data.batch_size", "10", "--trainer.max_epochs", "3"]
    with monkeypatch.context() as patch:
        stop_at(patch, 5)
        with pytest.raises(SystemExit):
            train(args)
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "1")
    train(args)
    [run] = (folder / "lightning_logs").iterdir()
    assert read_checkpoint(run / "checkpoints/last.ckpt")["global_step"] == 3 * 4
    with pytest.raises(UserError, match=r"training is complete \(3/3 epochs\)"):
        train(args)


@pytest.mark.slow
def test_torchrun_restarts_a_job_from_its_last_checkpoint(folder):
    script = REPOSITORY / "scripts" / "train.py"
    args = ["--trainer.devices", "2", "--trainer.strategy", "ddp", "--trainer.accelerator", "cpu"]
    args += ["--data.rows", "40", "--data.batch_size", "10", "--trainer.max_epochs", "50"]
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--max-restarts", "1"]
    environment = os.environ | {"TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1", "OMP_NUM_THREADS": "1"}
    job = subprocess.Popen([*torchrun, str(script), *args], cwd=folder, env=environment, stdout=subprocess.PIPE)
    checkpoints = folder / "lightning_logs/version_0/checkpoints"
    wait_for((checkpoints / "previous.ckpt").exists)
    [first, *_] = map(int, Path(f"/proc/{job.pid}/task/{job.pid}/children").read_text().split())
    os.kill(first, signal.SIGKILL)
    printed = job.communicate(timeout=MAX_LENGTH)[0].decode()
    assert job.returncode == 0
    assert [path.name for path in (folder / "lightning_logs").iterdir()] == ["version_0"]
    assert read_checkpoint(checkpoints / "last.ckpt")["global_step"] == 50 * 2
    assert printed.count("Epoch [50/50]") == 1
    assert printed.count("Epoch [10/50]") <= 2


def test_strategies_that_lose_the_trained_weights_are_refused(folder):
    with pytest.raises(UserError, match=r"--trainer.strategy: ddp_spawn loses what its processes learn; use ddp"):
        train(["--trainer.strategy", "ddp_spawn", "--trainer.devices", "2", "--trainer.accelerator", "cpu"])


@pytest.mark.slow
@pytest.mark.parametrize("way", ["adam and dropout", "accumulation", "validation within epochs"])
@pytest.mark.parametrize("workers", [0, 2])
def test_two_processes_resume_from_any_step(folder, way, workers):
    args = [*BASE, *WAYS[way], "--data.batch_size", "5", "--data.num_workers", workers]
    assert [rank.returncode for rank in train_on(folder, 2, *args, "--trainer.max_steps", "1000")] == [0, 0]
    whole = state(folder / "lightning_logs/version_0")
    for step in range(1, whole["step"]):
        run = folder / f"lightning_logs/version_{step}"
        for more in (["--trainer.max_steps", step], ["--ckpt_path", run, "--trainer.max_steps", "1000"]):
            done = train_on(folder, 2, *(args if more[0] == "--trainer.max_steps" else []), *more)
            assert [rank.returncode for rank in done] == [0, 0], done[0].stderr
        assert_same(whole, state(run))


# An epoch has 100 steps, in items of 64 and 36; a limit of steps makes them single.
SEVERAL = [*BASE, *WAYS["adam and dropout"], "--data.rows", "200", "--data.batch_size", "1"]


def test_several_steps_at_once_on_two_processes_equal_single_steps(folder):
    args = [*SEVERAL, "--trainer.max_epochs", "1"]
    for more in ([], ["--trainer.max_steps", "1000"]):
        done = train_on(folder, 2, *args, *more)
        assert [rank.returncode for rank in done] == [0, 0], done[0].stderr
    assert_same(*(state(folder / f"lightning_logs/version_{number}") for number in (0, 1)))


@pytest.mark.slow
def test_several_steps_at_once_on_two_processes_resume_from_any_step(folder):
    assert [rank.returncode for rank in train_on(folder, 2, *SEVERAL)] == [0, 0]
    whole = state(folder / "lightning_logs/version_0")
    for number, stop in enumerate((1, 64, 70, 100, 101, 165), start=1):
        run = folder / f"lightning_logs/version_{number}"
        for args in ([*SEVERAL, "--trainer.max_steps", stop], ["--ckpt_path", run, "--trainer.max_steps", "-1"]):
            done = train_on(folder, 2, *args)
            assert [rank.returncode for rank in done] == [0, 0], done[0].stderr
        assert_same(whole, state(run))
