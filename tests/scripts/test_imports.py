"""Commands import no heavy library that they do not need, because start-up dominates small experiments."""

import json
import subprocess
import sys

import pytest

from tests.command import MAX_LENGTH, REPOSITORY

HEAVY = {
    "IPython",
    "matplotlib",
    "onnx",
    "onnxruntime",
    "onnxscript",
    "pandas",
    "scipy",
    "sklearn",
    "sympy",
    "tensorboard",
}
RUN = """
import json, runpy, sys
sys.path.insert(0, {scripts!r})
for command in json.loads(sys.argv[1]):
    sys.argv = command
    try:
        runpy.run_path(command[0], run_name="__main__")
    except SystemExit as end:
        assert not end.code, command
    print()
    print("modules", json.dumps(sorted({{name.split(".")[0] for name in sys.modules}})))
"""
SCRIPTS = REPOSITORY / "scripts"


def imported_after(folder, *commands) -> list[set[str]]:
    """Run commands one after another in a new interpreter; return the heavy libraries imported after each.

    There is a pandas to import, which most users have installed.
    """
    (folder / "pandas.py").write_text("__version__ = '0'")
    done = subprocess.run(
        [sys.executable, "-c", RUN.format(scripts=str(SCRIPTS)), json.dumps(commands, default=str)],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=MAX_LENGTH,
    )
    assert done.returncode == 0, done.stderr
    printed = [line.removeprefix("modules ") for line in done.stdout.splitlines() if line.startswith("modules ")]
    return [set(json.loads(modules)) & HEAVY for modules in printed]


def imported(folder, *command) -> set[str]:
    return imported_after(folder, command)[0]


@pytest.fixture(scope="module")
def lightnings_own(tmp_path_factory) -> set[str]:
    folder = tmp_path_factory.mktemp("own")
    (folder / "own.py").write_text("import lightning.pytorch")
    return imported(folder, "own.py")


@pytest.mark.parametrize("script", ["evaluate", "predict"])
def test_help_imports_no_heavy_library(folder, script):
    assert imported(folder, SCRIPTS / f"{script}.py", "--help") == set()


@pytest.mark.slow
def test_commands_import_no_heavy_library_beyond_those_of_lightning(folder, lightnings_own, default_run):
    run, _ = default_run
    (folder / "rows.csv").write_text("x\n1\n2\n")
    short = [SCRIPTS / "train.py", "--trainer.max_epochs", "1"]
    commands = {
        "help": [SCRIPTS / "train.py", "--help"],
        "evaluate": [SCRIPTS / "evaluate.py", run],
        "predict": [SCRIPTS / "predict.py", run, "rows.csv", "out.csv"],
        "train": [*short, "--trainer.logger", "CSVLogger", "--trainer.logger.save_dir", "logs"],
        "train with figures and curves": short,
    }
    found = dict(zip(commands, imported_after(folder, *commands.values()), strict=True))
    assert found.pop("train with figures and curves") - lightnings_own <= {"matplotlib", "tensorboard"}
    for name, heavy in found.items():
        assert heavy <= lightnings_own, name
