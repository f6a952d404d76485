"""The Trainer of a run: its output, callbacks and logger."""

import re
import sys
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

from jsonargparse import Namespace
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelSummary, ProgressBar
from lightning.pytorch.strategies import DDPStrategy, Strategy

from project.callbacks import (
    BestCheckpoint,
    Dashboards,
    ExactResume,
    FitFigure,
    Hyperparameters,
    LastCheckpoint,
    ReliabilityFigure,
    RunFolder,
    ScheduleChecks,
    SmallSteps,
    TextAnswer,
    TextFigure,
    TextSample,
    Throughput,
)
from project.callbacks.user_callbacks import user_callbacks
from project.models.language_model import LanguageModel
from project.runs.checkpoint_io import VerifiedCheckpointIO
from project.runs.folder import ROOT, claim_version, run_of
from project.runs.resume import ResumePoint
from project.runtime.address import full_address
from project.runtime.console import shows_widgets
from project.runtime.distributed import rank
from project.training.logger import RunLogger

PROCESS_TIMEOUT = timedelta(minutes=5)  # how long processes wait for one that does not answer; torch waits 30 minutes


def complete_trainer(trainer: Namespace, resumed: ResumePoint) -> None:
    """Choose the console output unless the user has, and add the plugin that writes checkpoints.

    A finished run is not trained any further.
    """
    if resumed.is_finished:  # perhaps before max_epochs, by EarlyStopping
        trainer.max_epochs = resumed.epochs
    callbacks = trainer.callbacks if isinstance(trainer.callbacks, list) else [trainer.callbacks]
    if trainer.enable_progress_bar is None:
        has_bar = any(isinstance(callback, ProgressBar) for callback in callbacks)
        trainer.enable_progress_bar = sys.stdout.isatty() or shows_widgets() or has_bar
    if trainer.enable_model_summary is None:
        trainer.enable_model_summary = any(isinstance(callback, ModelSummary) for callback in callbacks)
    plugins = trainer.plugins or []
    trainer.plugins = [*(plugins if isinstance(plugins, list) else [plugins]), VerifiedCheckpointIO()]


def loop_callbacks(trainer: Namespace, model: LightningModule, resumed: ResumePoint) -> list[Callback]:
    """Return the callbacks that resume, check and stop training, and the user's; they stop at `max_steps`, too."""
    max_steps, trainer.max_steps = trainer.max_steps, -1
    if max_steps != -1 and trainer.max_epochs is None:
        trainer.max_epochs = -1
    # First: a resumed run repeats what the others do at the start of a batch.
    first = [ExactResume(resumed.optimizer_changes), ScheduleChecks(max_steps), LastCheckpoint(max_steps), SmallSteps()]
    return [*first, *user_callbacks(trainer, model, resumed.checkpoint is not None, resumed.is_finished)]


def recording_callbacks(
    trainer: Namespace, model: LightningModule, run_folder: RunFolder, config: dict[str, Any], answer: TextAnswer
) -> list[Callback]:
    """Return the callbacks that keep the results of a run with this configuration; none for `fast_dev_run`."""
    if trainer.fast_dev_run:
        return []
    callbacks: list[Callback] = [run_folder, FitFigure(), ReliabilityFigure()]
    if isinstance(model, LanguageModel):
        callbacks += [Throughput(), TextFigure(answer), TextSample()]
    if trainer.logger is not False:
        callbacks += [Hyperparameters(config), Dashboards(run_folder)]
    if trainer.enable_checkpointing is not False:
        callbacks.append(BestCheckpoint("train/loss" if trainer.limit_val_batches == 0 else "val/loss"))
    return callbacks


def build_trainer(trainer: Namespace, callbacks: Sequence[Callback], claimed: Path | None) -> Trainer:
    """Build the Trainer of a configuration; if that fails, remove the empty folder that was claimed for the run."""
    arguments = {**trainer, "callbacks": [*callbacks]}
    try:
        built = Trainer(**arguments)
        strategy = short_timeout_strategy(trainer, built.strategy)
        return built if strategy is None else Trainer(**arguments | {"strategy": strategy})
    except BaseException:
        if claimed is not None:
            claimed.rmdir()
        raise


def short_timeout_strategy(trainer: Namespace, strategy: Strategy) -> Strategy | None:
    """Return a strategy with a shorter timeout between processes than torch's, if the strategy was given by name."""
    if not isinstance(trainer.strategy, str) or type(strategy) is not DDPStrategy:
        return None
    options: dict[str, Any] = {"find_unused_parameters": True} if "find_unused" in trainer.strategy else {}
    return DDPStrategy(timeout=PROCESS_TIMEOUT, **options)


def use_run_logger(trainer: Namespace, folder: Path | None, resumed: ResumePoint) -> Path | None:
    """Set a TensorBoard logger in the folder of the run, unless the user has chosen loggers; return a new folder.

    A new run gets the given folder, by default the next `lightning_logs/version_N`.
    """
    if trainer.logger not in (None, True):
        return None
    logs, version, claimed = Path(full_address(trainer.default_root_dir or ".")) / ROOT, None, None
    if resumed.checkpoint and (run := run_of(resumed.checkpoint)) is not None:
        logs, version = run.parent.resolve(), run.name
    elif not trainer.fast_dev_run and rank() == 0:
        claimed = folder.resolve() if folder else claim_version(logs)
        claimed.mkdir(parents=True, exist_ok=True)
        logs, version = claimed.parent, claimed.name
    # Lightning itself makes `version_N` of a number; its progress bars show the number, or the end of a name.
    number = re.fullmatch(r"version_(0|[1-9]\d*)", version or "")
    # A killed run may have logged steps after its last checkpoint; they will be logged again.
    purge: dict[str, Any] = {"purge_step": resumed.steps} if resumed.steps else {}
    logged_version = int(number[1]) if number else version
    trainer.logger = RunLogger(logs.parent, logs.name, version=logged_version, default_hp_metric=False, **purge)
    return claimed
