"""Runs that several tests need: each is trained once a session and copied to where a test works."""

import shutil
import tempfile
from collections.abc import Sequence
from contextlib import chdir, redirect_stdout
from functools import cache
from io import StringIO
from pathlib import Path

from project.training.train import train

FOLDERS = tempfile.TemporaryDirectory()


def trained(args: Sequence[str], name: str = "version_0") -> str:
    """Copy the run that `train(args)` leaves to lightning_logs, and return its path."""
    run = Path("lightning_logs", name)
    shutil.copytree(_train_once(tuple(args)), run)
    return str(run)


@cache
def _train_once(args: tuple[str, ...]) -> Path:
    folder = Path(tempfile.mkdtemp(dir=FOLDERS.name))
    with chdir(folder), redirect_stdout(StringIO()):
        train(args)
    return folder / "lightning_logs/version_0"
