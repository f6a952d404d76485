"""The default logger: TensorBoard, in the run's own folder."""

import re
from pathlib import Path
from typing import Any

from jsonargparse import Namespace
from lightning.fabric.utilities.rank_zero import _get_rank
from lightning.pytorch.loggers import TensorBoardLogger

from project.runs.folder import ROOT, claim_version
from project.runs.resume import ResumePoint


def run_logger(config: Namespace, folder: Path | None, resumed: ResumePoint) -> tuple[TensorBoardLogger, Path | None]:
    """Return a logger, and the new folder that was made for it, if any.

    Args:
        config: The `trainer` section.
        folder: Folder of a new run; by default the next `lightning_logs/version_N`.
        resumed: The point from which training continues.
    """
    logs, version, claimed = Path(config.default_root_dir or ".").resolve() / ROOT, None, None
    checkpoint = resumed.checkpoint
    if checkpoint and checkpoint.parent.name == "checkpoints":
        logs, version = checkpoint.parents[2].resolve(), checkpoint.parents[1].name
    elif not config.fast_dev_run and _get_rank() in (None, 0):
        claimed = folder.resolve() if folder else claim_version(logs)
        claimed.mkdir(parents=True, exist_ok=True)
        logs, version = claimed.parent, claimed.name
    # Lightning itself makes `version_N` of a number; its progress bars show the number, or the end of a name.
    number = re.fullmatch(r"version_(0|[1-9]\d*)", version or "")
    # A killed run may have logged steps after its last checkpoint; they will be logged again.
    purge: dict[str, Any] = {"purge_step": resumed.steps} if resumed.steps else {}
    logged_version = int(number[1]) if number else version
    return TensorBoardLogger(logs.parent, logs.name, version=logged_version, default_hp_metric=False, **purge), claimed
