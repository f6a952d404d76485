"""Every callback, scheduler, optimizer and precision that Lightning and torch ship: a resumed run is exact, or refused.

Each way is trained once as a whole, stopped at two steps and resumed: it must give the same run to the last bit. What
cannot be exact is refused by name, in one line, when it is started or when it is resumed, before any training.
"""

import inspect
from typing import get_args

import pytest
import torch
from lightning.fabric.connector import _PRECISION_INPUT_STR
from lightning.pytorch import callbacks
from torch.optim import lr_scheduler

from project.runtime.errors import UserError
from project.training.train import train
from tests.scripts.test_exact_resume import BASE, MLP, SINGLE, assert_same, ordered_event_files, state, stop_at

__all__ = ["ordered_event_files"]  # a fixture that is used by itself
THREE = [*BASE, "--trainer.max_epochs", "3"]  # of four steps each
STOPS = (4, 6)  # between two epochs, and within one


def callback(name, **options):
    flags = [arg for key, value in options.items() for arg in (f"--trainer.callbacks.{key}", str(value))]
    return [*SINGLE, "--trainer.callbacks+", name, *flags]


def scheduler(name, interval="epoch", **options):
    flags = [arg for key, value in options.items() for arg in (f"--lr_scheduler.{key}", str(value))]
    momentum = ["--optimizer", "SGD", "--optimizer.lr", "0.05", "--optimizer.momentum", "0.9"]
    return [*SINGLE, *momentum, "--lr_scheduler", name, "--model.lr_interval", interval, *flags]


def optimizer(name, **options):
    flags = [arg for key, value in options.items() for arg in (f"--optimizer.{key}", str(value))]
    return [*SINGLE, *MLP, "--optimizer", name, "--optimizer.lr", "0.05", *flags]


SCHEDULERS = {
    "StepLR": {"step_size": 1, "gamma": 0.5},
    "MultiStepLR": {"milestones": "[1, 2]"},
    "ConstantLR": {"total_iters": 2},
    "LinearLR": {"total_iters": 2},
    "ExponentialLR": {"gamma": 0.9},
    "PolynomialLR": {"total_iters": 3},
    "CosineAnnealingLR": {"T_max": 3},
    "CosineAnnealingWarmRestarts": {"T_0": 2},
    "CyclicLR": {"base_lr": 0.01, "max_lr": 0.1, "step_size_up": 2},
    "OneCycleLR": {"max_lr": 0.1, "total_steps": 12},
}
PRECISIONS = ("32-true", "32", "64-true", "64", "16-mixed", "16", "bf16-mixed", "bf16")
PLATEAU = {"monitor": "val/loss", "patience": 0, "threshold": 10}
EXACT = {
    "DeviceStatsMonitor": callback("DeviceStatsMonitor"),
    "EarlyStopping": callback("EarlyStopping", monitor="val/loss", patience=1),
    "EarlyStopping before min_epochs": [
        *callback("EarlyStopping", monitor="val/loss", patience=1, min_delta=100),
        *("--trainer.min_epochs", "3"),
    ],
    "EarlyStopping by a threshold before min_steps": [
        *callback("EarlyStopping", monitor="val/loss", stopping_threshold=1000),
        *("--trainer.min_steps", "9"),
    ],
    "LambdaCallback": callback("LambdaCallback"),
    "LearningRateMonitor": callback("LearningRateMonitor", logging_interval="step"),
    "LearningRateFinder": [
        *callback("LearningRateFinder", min_lr=1e-3, num_training_steps=20),
        *("--trainer.max_epochs", "6"),
    ],
    "ModelCheckpoint": callback("ModelCheckpoint", every_n_train_steps=2),
    "ModelCheckpoint by score": callback("ModelCheckpoint", monitor="train/loss", save_top_k=2, save_last="true"),
    "ModelCheckpoint by time": callback("ModelCheckpoint", train_time_interval="00:00:00:01"),
    "ModelSummary": callback("ModelSummary"),
    "RichModelSummary": callback("RichModelSummary"),
    "RichProgressBar": callback("RichProgressBar"),
    "TQDMProgressBar": callback("TQDMProgressBar"),
    "Timer": callback("Timer", duration="00:01:00:00"),
    "WeightAveraging": callback("WeightAveraging"),
    "EMAWeightAveraging": callback("EMAWeightAveraging", decay=0.9),
    **{f"{name} by {i}": scheduler(name, i, **o) for name, o in SCHEDULERS.items() for i in ("epoch", "step")},
    "SWALR": scheduler("torch.optim.swa_utils.SWALR", swa_lr=0.01, anneal_epochs=2),
    "ReduceLROnPlateau": scheduler("ReduceLROnPlateau", **PLATEAU),
    "ReduceLROnPlateau by training": scheduler("ReduceLROnPlateau", **PLATEAU | {"monitor": "train/loss"}),
    "ReduceLROnPlateau every second epoch": [
        *scheduler("ReduceLROnPlateau", **PLATEAU),
        *("--trainer.check_val_every_n_epoch", "2"),
    ],
    **{
        f"precision {name}": [*SINGLE, *MLP, "--trainer.precision", name] for name in ("32-true", "32", "64-true", "64")
    },
    **{
        f"precision {name}": [*SINGLE, *MLP, "--trainer.precision", name] for name in ("bf16-mixed", "bf16", "16-mixed")
    },
    **{f"precision {name}": [*SINGLE, *MLP, "--trainer.precision", name] for name in PRECISIONS},
    **{name: optimizer(name) for name in ("ASGD", "Adadelta", "Adafactor", "Adagrad", "Adam", "AdamW", "Adamax")},
    **{name: optimizer(name) for name in ("LBFGS", "NAdam", "RAdam", "RMSprop", "Rprop", "SGD")},
    "Adam, amsgrad": optimizer("Adam", amsgrad="true"),
    "accumulated gradients": [*SINGLE, "--trainer.accumulate_grad_batches", "2", "--trainer.max_epochs", "4"],
    "clipped values": [*SINGLE, "--trainer.gradient_clip_val", "0.1", "--trainer.gradient_clip_algorithm", "value"],
    "clipped norms": [*SINGLE, "--trainer.gradient_clip_val", "0.1"],
    "validation within epochs": [*SINGLE, "--trainer.val_check_interval", "2"],
    "validation every second epoch": [*SINGLE, "--trainer.check_val_every_n_epoch", "2"],
    "validation across epochs": [
        *SINGLE,
        *("--trainer.check_val_every_n_epoch", "null", "--trainer.val_check_interval", "3"),
    ],
    "no validation": [*SINGLE, "--trainer.limit_val_batches", "0"],
    "fewer batches": [*SINGLE, "--trainer.limit_train_batches", "3"],
    "no sanity check": [*SINGLE, "--trainer.num_sanity_val_steps", "0"],
    "reloaded loaders": [*SINGLE, "--trainer.reload_dataloaders_every_n_epochs", "1"],
    "deterministic algorithms": [*SINGLE, "--trainer.deterministic", "true"],
    "anomaly detection": [*SINGLE, "--trainer.detect_anomaly", "true"],
    "profiler": [*SINGLE, "--trainer.profiler", "simple"],
    "workers": [*SINGLE, "--data.num_workers", "1"],
    "thawing": [*SINGLE, *MLP, "--finetuning.freeze", "[backbone]", "--finetuning.unfreeze_every", "1"],
    "slower layers": [*SINGLE, *MLP, "--finetuning.layer_decay", "0.5"],
    "pruning": [*SINGLE, *MLP, "--pruning.sparsity", "0.5"],
    "compiled": [*SINGLE, "--model.compile", "true"],
    "ensemble": [*SINGLE, "--model.net", "Ensemble", "--model.net.nets", "[MLP]", "--model.net.copies", "2"],
    "bootstrap": [*SINGLE, "--sampling.bootstrap", "1"],
    "penalties": [*SINGLE, "--model.l1", "0.01", "--model.l2", "0.01"],
    "raw units": [*SINGLE, "--model.standardize", "false"],
    "HuberLoss": [*SINGLE, "--model.loss", "HuberLoss"],
}
OTHER_STOPS = {"accumulated gradients": (2, 4), "fewer batches": (3, 5), "GradientAccumulationScheduler": (2, 3)}
EXACT["GradientAccumulationScheduler"] = callback("GradientAccumulationScheduler", scheduling="{0: 2, 1: 4}")
EXACT["BatchSizeFinder"] = [*callback("BatchSizeFinder", max_trials=3), *MLP]
OTHER_STOPS["BatchSizeFinder"] = (1, 2)
NEEDS = "needs .*; add --lr_scheduler."
REFUSED = {  # with the message
    "BackboneFinetuning": (callback("BackboneFinetuning"), "BackboneFinetuning: Regression has no `backbone`"),
    "ModelPruning": (callback("ModelPruning", pruning_fn="l1_unstructured"), "ModelPruning: its masks"),
    "OnExceptionCheckpoint": (callback("OnExceptionCheckpoint", dirpath="."), "OnExceptionCheckpoint: with it"),
    "ThroughputMonitor": (callback("ThroughputMonitor"), "ThroughputMonitor needs batch_size_fn"),
    "SequentialLR": (scheduler("SequentialLR"), f"SequentialLR {NEEDS}"),
    "ChainedScheduler": (scheduler("ChainedScheduler"), f"ChainedScheduler {NEEDS}"),
    "LambdaLR": (scheduler("LambdaLR"), f"LambdaLR {NEEDS}"),
    "MultiplicativeLR": (scheduler("MultiplicativeLR"), f"MultiplicativeLR {NEEDS}"),
    "OneCycleLR that is too short": (scheduler("OneCycleLR", max_lr=0.1, total_steps=2), "has 2 steps, but .* takes 3"),
    "ReduceLROnPlateau by step": (
        scheduler("ReduceLROnPlateau", "step", **PLATEAU),
        "lr_interval step: Reduce",
    ),
    "Muon": (optimizer("Muon"), "Muon only supports 2D parameters"),
    "SparseAdam": (optimizer("SparseAdam"), "SparseAdam does not support dense gradients"),
    "precision 16-true": (["--trainer.precision", "16-true"], "16-true rounds the data too"),
    "precision bf16-true": (["--trainer.precision", "bf16-true"], "bf16-true rounds the data too"),
    "precision transformer-engine": (["--trainer.precision", "transformer-engine"], "transformer_engine.* not met"),
    "precision transformer-engine-float16": (
        ["--trainer.precision", "transformer-engine-float16"],
        "transformer_engine.* not met",
    ),
    "overfit_batches": (["--trainer.overfit_batches", "2"], "overfit_batches: would train on single rows"),
}
REFUSED_LATER = {  # when the run is resumed
    "StochasticWeightAveraging": (
        callback("StochasticWeightAveraging", swa_lrs=0.01, swa_epoch_start=1),
        "StochasticWeightAveraging: Lightning does not restore its averages",
    ),
    "SpikeDetection": (callback("SpikeDetection"), "SpikeDetection: Lightning cannot restore its state"),
}
BASES = {"Callback", "Checkpoint", "BaseFinetuning", "BasePredictionWriter", "ProgressBar"}  # that only subclasses use
TRIED = [*EXACT, *REFUSED, *REFUSED_LATER]


def test_every_part_of_lightning_and_torch_is_tried():
    shipped = {*callbacks.__all__} - BASES | {*lr_scheduler.__all__} - {"LRScheduler"}
    shipped |= {name for name, kind in vars(torch.optim).items() if inspect.isclass(kind)} - {"Optimizer"}
    shipped |= {f"precision {name}" for name in get_args(_PRECISION_INPUT_STR)}
    assert {name for name in shipped if not any(tried.startswith(name) for tried in TRIED)} == set()
    print(f"{len(EXACT)} ways are resumed exactly, {len(REFUSED) + len(REFUSED_LATER)} are refused")
    assert len(TRIED) >= 80


def stop_and_resume(folder, monkeypatch, args, step, number):
    """Train until a step, resume, and return the state of the run."""
    with monkeypatch.context() as patch:
        stop_at(patch, step)
        with pytest.raises(SystemExit):
            train([*THREE, *args])
    run = folder / f"lightning_logs/version_{number}"
    train(["--ckpt_path", str(run)])
    return state(run)


@pytest.mark.slow
@pytest.mark.parametrize("way", EXACT)
def test_a_run_that_is_stopped_and_resumed_is_the_uninterrupted_one(folder, monkeypatch, capsys, way):
    train([*THREE, *EXACT[way]])
    whole = state(folder / "lightning_logs/version_0")
    for number, step in enumerate(OTHER_STOPS.get(way, STOPS), start=1):
        assert_same(whole, stop_and_resume(folder, monkeypatch, EXACT[way], step, number))


@pytest.mark.slow
@pytest.mark.parametrize("way", REFUSED)
def test_what_cannot_be_exact_is_refused_by_name_before_training(folder, capsys, way):
    args, told = REFUSED[way]
    with pytest.raises(UserError, match=told):
        train([*THREE, *args])
    assert not [*folder.rglob("*.ckpt")]


@pytest.mark.slow
@pytest.mark.parametrize("way", REFUSED_LATER)
def test_what_cannot_be_resumed_is_refused_by_name_when_it_is(folder, monkeypatch, capsys, way):
    args, told = REFUSED_LATER[way]
    with pytest.raises(UserError, match=told):
        stop_and_resume(folder, monkeypatch, args, 6, 0)
