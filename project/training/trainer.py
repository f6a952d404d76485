"""Settings of the Trainer that Lightning leaves open."""

import sys
from datetime import timedelta

from jsonargparse import Namespace
from lightning.pytorch.strategies import DDPStrategy, Strategy
from torch.distributed import default_pg_timeout

from project.runs.checkpoint_io import VerifiedCheckpointIO
from project.runtime.console import shows_widgets

PROCESS_TIMEOUT = timedelta(minutes=5)  # how long processes wait for one that does not answer; torch waits 30 minutes


def complete_trainer(trainer: Namespace) -> None:
    """Choose the console output that the user has not chosen, and add the plugin that writes checkpoints."""
    if trainer.enable_progress_bar is None:
        trainer.enable_progress_bar = sys.stdout.isatty() or shows_widgets()
    if trainer.enable_model_summary is None:
        trainer.enable_model_summary = False
    plugins = trainer.plugins or []
    trainer.plugins = [*(plugins if isinstance(plugins, list) else [plugins]), VerifiedCheckpointIO()]


def shorten_timeout(strategy: Strategy) -> None:
    """Replace torch's default timeout between processes; one that the user has set stays."""
    if isinstance(strategy, DDPStrategy) and strategy._timeout == default_pg_timeout:
        strategy._timeout = PROCESS_TIMEOUT
