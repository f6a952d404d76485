"""Settings of the Trainer that Lightning leaves open, and the default logger."""

import re
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

from jsonargparse import Namespace
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.strategies import DDPStrategy, Strategy

from project.runs.checkpoint_io import VerifiedCheckpointIO
from project.runs.folder import ROOT, claim_version
from project.runs.resume import ResumePoint
from project.runtime.console import shows_widgets
from project.runtime.distributed import rank

PROCESS_TIMEOUT = timedelta(minutes=5)  # how long processes wait for one that does not answer; torch waits 30 minutes


def complete_trainer(trainer: Namespace) -> None:
    """Choose the console output that the user has not chosen, and add the plugin that writes checkpoints."""
    if trainer.enable_progress_bar is None:
        trainer.enable_progress_bar = sys.stdout.isatty() or shows_widgets()
    if trainer.enable_model_summary is None:
        trainer.enable_model_summary = False
    plugins = trainer.plugins or []
    trainer.plugins = [*(plugins if isinstance(plugins, list) else [plugins]), VerifiedCheckpointIO()]


def with_short_timeout(trainer: Namespace, strategy: Strategy) -> Strategy | None:
    """Return a strategy without torch's default timeout between processes, in place of one that was given by name."""
    if not isinstance(trainer.strategy, str) or type(strategy) is not DDPStrategy:
        return None
    options: dict[str, Any] = {"find_unused_parameters": True} if "find_unused" in trainer.strategy else {}
    return DDPStrategy(timeout=PROCESS_TIMEOUT, **options)


def run_logger(config: Namespace, folder: Path | None, resumed: ResumePoint) -> tuple[TensorBoardLogger, Path | None]:
    """Return a TensorBoard logger in the folder of the run, and that folder if it is new.

    A new run gets the given folder, by default the next `lightning_logs/version_N`.
    """
    logs, version, claimed = Path(config.default_root_dir or ".").resolve() / ROOT, None, None
    if (checkpoint := resumed.checkpoint) and checkpoint.parent.name == "checkpoints":
        logs, version = checkpoint.parents[2].resolve(), checkpoint.parents[1].name
    elif not config.fast_dev_run and rank() == 0:
        claimed = folder.resolve() if folder else claim_version(logs)
        claimed.mkdir(parents=True, exist_ok=True)
        logs, version = claimed.parent, claimed.name
    # Lightning itself makes `version_N` of a number; its progress bars show the number, or the end of a name.
    number = re.fullmatch(r"version_(0|[1-9]\d*)", version or "")
    # A killed run may have logged steps after its last checkpoint; they will be logged again.
    purge: dict[str, Any] = {"purge_step": resumed.steps} if resumed.steps else {}
    logged_version = int(number[1]) if number else version
    return TensorBoardLogger(logs.parent, logs.name, version=logged_version, default_hp_metric=False, **purge), claimed
