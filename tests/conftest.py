"""Shared parts: a folder to work in, the commands as a user runs them, one finished default run."""

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.command import run_script

os.environ.setdefault("OMP_NUM_THREADS", "2")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="session")
def default_run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """The run folder that `python scripts/train.py` leaves, and what it printed."""
    working_folder = tmp_path_factory.mktemp("default")
    done = run_script(working_folder, "train")
    assert done.returncode == 0, done.stderr
    return working_folder / "lightning_logs" / "version_0", done


@pytest.fixture
def table(folder: Path) -> Callable[..., Path]:
    """Writes rows of numbers, y = 3a - 2b + 1, to a CSV file, with some text replaced."""

    def write(rows: int = 40, name: str = "table.csv", **replaced: str) -> Path:
        lines = [f"{i},{(i * 7) % 11},{3 * i - 2 * ((i * 7) % 11) + 1}" for i in range(rows)]
        text = "\n".join(["a,b,y", *lines]) + "\n"
        for old, new in replaced.items():
            text = text.replace(old.replace("_", ","), new)
        path = folder / name
        path.write_text(text)
        return path

    return write
