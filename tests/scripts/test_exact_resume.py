"""A run that is stopped at any step and resumed is bit-identical to an uninterrupted run."""

import json
import os
import signal

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.summary.writer import event_file_writer

from project.callbacks import LastCheckpoint
from project.runs.checkpoint import read_checkpoint
from project.training.train import train

STEPS = 8  # two epochs of four batches
BASE = ["--data.rows", "40", "--data.features", "2", "--data.batch_size", "10", "--trainer.max_epochs", "2"]
BASE += ["--data.val_rows", "20", "--data.test_rows", "20", "--epoch_line.every_n_epochs", "0"]
MLP = ["--model.net", "MLP", "--model.net.hidden", "[4]", "--model.net.dropout", "0.3"]
# With a callback that acts on single steps, the model does not combine several steps into one.
SINGLE = ["--trainer.callbacks", "LearningRateMonitor", "--trainer.callbacks.logging_interval", "step"]
PLATEAU = ["--lr_scheduler", "ReduceLROnPlateau", "--lr_scheduler.monitor", "val/loss", "--lr_scheduler.patience", "0"]
WAYS = {
    "momentum": ["--optimizer.momentum", "0.9"],
    "adam and dropout": ["--optimizer", "Adam", *MLP],
    "lbfgs": ["--optimizer", "LBFGS", "--optimizer.max_iter", "3"],
    "step schedule": ["--optimizer", "Adam", "--lr_scheduler", "StepLR", "--lr_scheduler.step_size", "1", *MLP],
    "plateau": [*PLATEAU, "--lr_scheduler.threshold", "10"],
    "accumulation": ["--trainer.accumulate_grad_batches", "2", *MLP],
    "validation within epochs": ["--trainer.val_check_interval", "2", *MLP],
    "clipping": ["--trainer.gradient_clip_val", "0.1"],
    "penalties": ["--model.l1", "0.01", "--model.l2", "0.01"],
    "accumulation by epoch": [
        *("--trainer.callbacks+", "GradientAccumulationScheduler"),
        *("--trainer.callbacks.scheduling", "{0: 2, 1: 4}"),
    ],
    "averaging": ["--trainer.callbacks+", "EMAWeightAveraging", "--trainer.callbacks.decay", "0.9"],
}

# Similar to others, which are in the quick suite.
SIMILAR = ("momentum", "clipping", "penalties", "accumulation", "accumulation by epoch", "step schedule")
SIMILAR += ("averaging", "plateau", "validation within epochs")
# The quick suite stops at every third step: each way at other ones.
EVERY = pytest.mark.parametrize("every", [3, pytest.param(1, marks=pytest.mark.slow)], ids=["third", "each"])


@pytest.fixture(autouse=True)
def ordered_event_files(monkeypatch):
    """Make file names sort by creation: TensorBoard sorts them as text, and would read number 10 before 9."""
    monkeypatch.setattr(event_file_writer, "_global_uid", event_file_writer.AtomicCounter(1_000))


def state(run):
    """Return the complete result of a run: weights, optimizer state, metrics, and every point of every curve."""
    saved = read_checkpoint(run / "checkpoints/last.ckpt")
    metrics = json.loads((run / "metrics.json").read_text())
    metrics = {name: value for name, value in metrics.items() if not name.endswith(("seconds/fit", "per_second"))}
    events = EventAccumulator(str(run), size_guidance={"scalars": 0, "images": 0}).Reload()
    tags = [tag for tag in events.Tags()["scalars"] if not tag.endswith(("per_second", "mfu"))]  # those are timings
    curves = {tag: [(e.step, e.value) for e in events.Scalars(tag)] for tag in tags}
    images = {tag: [e.step for e in events.Images(tag)] for tag in events.Tags()["images"]}
    best = read_checkpoint(run / "checkpoints/best.ckpt")["state_dict"]
    return {
        "weights": saved["state_dict"],
        "best": best,
        "optimizer": saved["optimizer_states"],
        "schedule": saved["lr_schedulers"],
        "step": saved["global_step"],
        "metrics": metrics,
        "curves": curves,
        "images": images,
    }


def same(a, b) -> bool:
    if isinstance(a, torch.Tensor):
        return a.equal(b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    return bool(a == b)


def assert_same(whole, resumed):
    for part, found in whole.items():
        for name in found if isinstance(found, dict) else ():
            assert same(found[name], resumed[part].get(name)), (
                f"{part} {name}: {found[name]}, {resumed[part].get(name)}"
            )
        assert same(found, resumed[part]), part


def stop_at(monkeypatch, step):
    """Make the process send itself SIGTERM at a step."""
    before = LastCheckpoint.on_train_batch_start

    def on_train_batch_start(self, trainer, *rest):
        if trainer.global_step == step:
            os.kill(os.getpid(), signal.SIGTERM)
        before(self, trainer, *rest)

    monkeypatch.setattr(LastCheckpoint, "on_train_batch_start", on_train_batch_start)


@EVERY
@pytest.mark.parametrize("way", [pytest.param(way, marks=pytest.mark.slow if way in SIMILAR else []) for way in WAYS])
def test_a_run_stopped_at_any_step_and_resumed_equals_an_uninterrupted_one(folder, monkeypatch, capsys, way, every):
    args = [*BASE, *SINGLE, *WAYS[way]]
    train(args)
    whole = state(folder / "lightning_logs/version_0")
    steps = range(1, whole["step"])[list(WAYS).index(way) % every :: every]
    assert steps
    for number, step in enumerate(steps, start=1):
        run = folder / f"lightning_logs/version_{number}"
        with monkeypatch.context() as patch:
            stop_at(patch, step)
            with pytest.raises(SystemExit) as stopped:
                train(args)
        assert stopped.value.code == 128 + signal.SIGTERM
        assert read_checkpoint(run / "checkpoints/last.ckpt")["global_step"] == step
        train(["--ckpt_path", str(run)])
        assert_same(whole, state(run))


@EVERY
@pytest.mark.parametrize("way", ["adam and dropout", pytest.param("validation within epochs", marks=pytest.mark.slow)])
def test_a_run_stopped_by_max_steps_and_resumed_equals_an_uninterrupted_one(folder, capsys, way, every):
    args = [*BASE, *WAYS[way]]
    train([*args, "--trainer.max_steps", "1000"])
    whole = state(folder / "lightning_logs/version_0")
    for number, step in enumerate(range(1, STEPS)[::every], start=1):
        run = folder / f"lightning_logs/version_{number}"
        train([*args, "--trainer.max_steps", str(step)])
        train(["--ckpt_path", str(run), "--trainer.max_steps", "1000"])
        assert_same(whole, state(run))


@pytest.mark.slow
@EVERY
@pytest.mark.parametrize("way", ["lbfgs", pytest.param("adam and dropout", marks=pytest.mark.slow)])
def test_a_run_resumed_without_max_steps_equals_one_that_never_had_it(folder, capsys, way, every):
    args = [*BASE, *WAYS[way]]  # several steps at once, but single ones with max_steps
    train(args)
    whole = state(folder / "lightning_logs/version_0")
    for number, step in enumerate(range(1, STEPS)[::every], start=1):
        run = folder / f"lightning_logs/version_{number}"
        train([*args, "--trainer.max_steps", str(step)])
        assert read_checkpoint(run / "checkpoints/last.ckpt")["global_step"] == step
        train(["--ckpt_path", str(run), "--trainer.max_steps", "-1"])
        resumed = state(run)
        for part in (whole, resumed):  # with single steps, rows are evaluated in other groups
            part["curves"] = {tag: points for tag, points in part["curves"].items() if not tag.startswith("val/")}
        assert_same(whole, resumed)


@EVERY
def test_a_language_model_stopped_at_any_step_and_resumed_equals_an_uninterrupted_one(
    folder, monkeypatch, capsys, every
):
    (folder / "text.txt").write_text(
        "".join(f"{number} sheep jump over {number % 7} fences.\n" for number in range(30))
    )
    args = ["--data", "TextDataModule", "--data.path", "text.txt", "--data.cache", "cache", "--data.context", "8"]
    args += ["--data.tokenizer", "bytes", "--model", "LanguageModel", "--model.net.width", "16"]
    args += ["--model.net.dropout", "0.2", "--model.net.layers", "1"]
    args += ["--optimizer", "MuonAdamW", "--lr_scheduler", "WarmupStable", "--lr_scheduler.warmup_steps", "2"]
    args += ["--trainer.accumulate_grad_batches", "2", "--trainer.gradient_clip_val", "1", "--trainer.max_epochs", "3"]
    args += ["--epoch_line.every_n_epochs", "0"]
    train(args)
    whole = state(folder / "lightning_logs/version_0")
    assert whole["step"] >= STEPS
    for number, step in enumerate(range(1, whole["step"])[::every], start=1):
        run = folder / f"lightning_logs/version_{number}"
        with monkeypatch.context() as patch:
            stop_at(patch, step)
            with pytest.raises(SystemExit):
                train(args)
        train(["--ckpt_path", str(run)])
        assert_same(whole, state(run))


def test_no_row_is_lost_when_workers_have_prefetched_batches(folder, monkeypatch, capsys):
    args = [*BASE, *MLP, "--data.num_workers", "2"]
    train(args)
    with monkeypatch.context() as patch:
        stop_at(patch, 6)
        with pytest.raises(SystemExit):
            train(args)
    train(["--ckpt_path", "last"])
    assert_same(state(folder / "lightning_logs/version_0"), state(folder / "lightning_logs/version_1"))


@pytest.mark.slow
def test_a_resumed_run_whose_last_epochs_were_lost_has_every_point_once(folder, capsys):
    args = [*BASE, "--trainer.max_epochs", "4"]
    train(args)
    whole = state(folder / "lightning_logs/version_0")
    train(args)
    run = folder / "lightning_logs/version_1"
    train(["--ckpt_path", str(run), "--trainer.max_epochs", "6"])  # points beyond the last saved step
    (run / "checkpoints/last.ckpt").unlink()
    train([*BASE, "--trainer.max_epochs", "2"])
    (folder / "lightning_logs/version_2/checkpoints/last.ckpt").rename(run / "checkpoints/last.ckpt")
    train(["--ckpt_path", str(run), "--trainer.max_epochs", "4"])
    resumed = state(run)
    assert {tag: len(points) for tag, points in resumed["curves"].items()} == {
        tag: len(points) for tag, points in whole["curves"].items()
    }
    assert_same({"weights": whole["weights"], "curves": whole["curves"]}, resumed)
