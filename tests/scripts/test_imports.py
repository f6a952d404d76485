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
sys.argv = sys.argv[1:]
sys.path.insert(0, {scripts!r})
try:
    runpy.run_path(sys.argv[0], run_name="__main__")
except SystemExit:
    pass
print()
print(json.dumps(sorted({{name.split(".")[0] for name in sys.modules}})))
"""


def imported(folder, *args) -> set[str]:
    code = RUN.format(scripts=str(REPOSITORY / "scripts"))
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, args)],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=MAX_LENGTH,
        check=True,
    )
    return set(json.loads(done.stdout.splitlines()[-1])) & HEAVY


@pytest.fixture(scope="module")
def lightnings_own(tmp_path_factory) -> set[str]:
    folder = tmp_path_factory.mktemp("own")
    (folder / "own.py").write_text("import lightning.pytorch")
    return imported(folder, "own.py")


@pytest.mark.parametrize("script", ["train", "evaluate", "predict"])
def test_help_imports_no_heavy_library_beyond_those_of_lightning(folder, lightnings_own, script):
    allowed = lightnings_own if script == "train" else set()
    assert imported(folder, REPOSITORY / "scripts" / f"{script}.py", "--help") <= allowed


def test_evaluate_and_predict_import_no_heavy_library_beyond_those_of_lightning(folder, lightnings_own, default_run):
    run, _ = default_run
    (folder / "rows.csv").write_text("x\n1\n2\n")
    assert imported(folder, REPOSITORY / "scripts" / "evaluate.py", run) <= lightnings_own
    assert imported(folder, REPOSITORY / "scripts" / "predict.py", run, "rows.csv", "out.csv") <= lightnings_own


def test_training_imports_only_what_figures_and_curves_need(folder, lightnings_own):
    args = ["--trainer.max_epochs", "1"]
    script = REPOSITORY / "scripts" / "train.py"
    assert imported(folder, script, *args) - lightnings_own <= {"matplotlib", "tensorboard"}
    assert imported(folder, script, *args, "--trainer.logger", "CSVLogger", "--trainer.logger.save_dir", "logs") <= (
        lightnings_own
    )
