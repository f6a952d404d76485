"""What a run logs to unless told otherwise: TensorBoard, in the run's own folder."""

import re
from pathlib import Path
from typing import Any

from jsonargparse import Namespace
from lightning.fabric.utilities.rank_zero import _get_rank
from lightning.pytorch.loggers import TensorBoardLogger

from project.runs.folder import ROOT, claim_version


def run_logger(
    config: Namespace, folder: Path | None, checkpoint: Path | None, trained_steps: int
) -> tuple[TensorBoardLogger, Path | None]:
    """A logger, and the folder that was made for it.

    Args:
        config: The Trainer's section.
        folder: Where a new run is to lie; the next `lightning_logs/version_N` without one.
        checkpoint: Of the run that goes on, in its folder.
        trained_steps: Steps that it has taken.
    """
    logs, version, claimed = Path(config.default_root_dir or ".").resolve() / ROOT, None, None
    if checkpoint and checkpoint.parent.name == "checkpoints":
        logs, version = checkpoint.parents[2].resolve(), checkpoint.parents[1].name
    elif not config.fast_dev_run and _get_rank() in (None, 0):
        claimed = folder.resolve() if folder else claim_version(logs)
        claimed.mkdir(parents=True, exist_ok=True)
        logs, version = claimed.parent, claimed.name
    # Of a name, progress bars show the last letters.
    number = re.fullmatch(r"version_(0|[1-9]\d*)", version or "")
    # A killed run may have logged points that it did not live to save: they will come again.
    purge: dict[str, Any] = {"purge_step": trained_steps} if trained_steps else {}
    kept = int(number[1]) if number else version
    return TensorBoardLogger(logs.parent, logs.name, version=kept, default_hp_metric=False, **purge), claimed
