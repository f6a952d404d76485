"""Shared fixtures, and how many processes run the tests."""

import gc
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from tests.command import forks, run_script
from tests.fork_server import share
from tests.kept import keep_operators, keep_parser

# The same examples in every run, so that a change alone makes a test fail; others with --hypothesis-profile default.
settings.register_profile("same", derandomize=True)
settings.load_profile("same")
os.environ.setdefault("OMP_NUM_THREADS", "1")  # small tensors gain nothing from more; tests run side by side


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int | None:
    """Run the whole suite on all cores, but single files, selected tests and slow tests in this process."""
    options = config.option
    whole = all(Path(arg).is_dir() for arg in config.args) and not options.keyword and options.markexpr == "not slow"
    # One more than the cores: tests also wait, for processes, servers and files.
    return (os.cpu_count() or 1) + 1 if whole else 0


def pytest_configure(config: pytest.Config) -> None:
    """Start the process from which commands are forked, for all workers."""
    if getattr(config.option, "numprocesses", None) and not hasattr(config, "workerinput"):
        forks()
        share()


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip tests marked `gpu` where there is no GPU."""
    if item.get_closest_marker("gpu"):
        import torch

        if not torch.cuda.is_available():
            pytest.skip("no GPU")


def pytest_collection_finish() -> None:
    """Keep the garbage collector from what is imported: it takes a fifth of the time of short trainings."""
    if "project.exporting.formats" in sys.modules:
        keep_operators()
    if "project.training.cli" in sys.modules:
        keep_parser()
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def blank_figures(request: pytest.FixtureRequest) -> Iterator[None]:
    """Leave the figures of trainings in this process blank: drawing takes half of the time of a short training.

    Tests marked `figures` draw them, as do all commands.
    """
    module = sys.modules.get("project.callbacks.fit_figure")
    with pytest.MonkeyPatch.context() as patch:
        if module and not request.node.get_closest_marker("figures"):
            from matplotlib.figure import Figure

            patch.setattr(module, "fit_figure", lambda *_, **__: Figure(figsize=(1, 1), dpi=10))
        yield


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="session")
def default_run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """The run folder and the output of `python scripts/train.py`."""
    working_folder = tmp_path_factory.mktemp("default")
    done = run_script(working_folder, "train")
    assert done.returncode == 0, done.stderr
    return working_folder / "lightning_logs" / "version_0", done


@pytest.fixture
def table(folder: Path) -> Callable[..., Path]:
    """A function that writes rows of y = 3a - 2b + 1 to a CSV file, with some text replaced."""

    def write(rows: int = 40, name: str = "table.csv", **replaced: str) -> Path:
        lines = [f"{i},{(i * 7) % 11},{3 * i - 2 * ((i * 7) % 11) + 1}" for i in range(rows)]
        text = "\n".join(["a,b,y", *lines]) + "\n"
        for old, new in replaced.items():
            text = text.replace(old.replace("_", ","), new)
        path = folder / name
        path.write_text(text)
        return path

    return write
