"""The folder of a run: `lightning_logs/version_N/` with config.yaml, metrics.json and checkpoints/{best,last}.ckpt."""

import contextlib
import csv
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from project.runs.checkpoint_io import verify
from project.runtime.address import local_path
from project.runtime.errors import UserError
from project.runtime.files import atomic_write

ROOT = Path("lightning_logs")
BEST, LAST, PREVIOUS = "best.ckpt", "last.ckpt", "previous.ckpt"
LATEST = "last"  # as a reference: the newest run
ARTIFACTS = (".onnx", ".pt2", ".torchscript", ".safetensors", ".pt")
LOCK = ".lock"
OWN_FILES = (LOCK, "config.yaml", "hparams.yaml", "metrics.csv", "events.out.tfevents.*", "checkpoints/*.unfinished")


def remove_own_files(run: Path) -> None:
    """Remove the files of a run without checkpoints, and its folders if they are then empty."""
    for pattern in OWN_FILES:
        for path in run.glob(pattern):
            path.unlink(missing_ok=True)
    for folder in (run / "checkpoints", run):
        with contextlib.suppress(OSError):  # not empty, or missing
            folder.rmdir()


def claim_version(root: Path, kind: str = "version") -> Path:
    """Make the first unused `version_N` under a folder; each of several concurrent processes gets its own."""
    while True:
        path = next_version(root, kind)
        with contextlib.suppress(FileExistsError):
            path.mkdir(parents=True)
            return path


def next_version(root: Path, kind: str = "version") -> Path:
    """Return the first unused `version_N`, or `KIND_N`, under a folder."""
    numbers = [path.name.removeprefix(f"{kind}_") for path in root.glob(f"{kind}_*")]
    return root / f"{kind}_{max((int(number) for number in numbers if number.isdecimal()), default=-1) + 1}"


def write_metrics(folder: Path, metrics: Mapping[str, float]) -> None:
    """Write metrics.json: one flat object, sorted by name; infinite numbers and NaN become null."""
    finite = {name: value if abs(value) < float("inf") else None for name, value in sorted(metrics.items())}
    with atomic_write(folder / "metrics.json") as temporary:
        temporary.write_text(json.dumps(finite, indent=2) + "\n")


def write_coefficients(folder: Path, columns: Mapping[str, Sequence[str | float]]) -> None:
    """Write coefficients.csv: one line per coefficient, with all digits of every number."""
    with atomic_write(folder / "coefficients.csv") as temporary, temporary.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(zip(*columns.values(), strict=True))


def find_checkpoint(reference: str, name: str = BEST, root: Path = ROOT) -> Path:
    """Return the checkpoint file that a reference stands for; raise a UserError if there is none.

    The reference is a checkpoint file, a run folder, or `last`: the newest run in `root` that has a checkpoint. In a
    run folder, `name` is preferred, but another checkpoint is returned if it is missing; if `last.ckpt` is damaged,
    print a warning and return the one before it.
    """
    if reference == LATEST:
        found = [path for path in root.glob("version_*/checkpoints/*.ckpt") if path.name in (BEST, LAST)]
        if not found:
            raise UserError(f"last: no run in {root} has a checkpoint; train one with python scripts/train.py")
        reference = str(max(found, key=lambda path: path.stat().st_mtime_ns).parents[1])
    path = local_path(reference)
    if path.is_file() and path.suffix not in ARTIFACTS:
        return path
    problem = "no such run or checkpoint"
    if path.is_file():
        problem = "expected a run, got an exported file; pass the run it was exported from"
    elif path.exists():
        problem = f"no checkpoints/{BEST} or {LAST}; pass the folder of a run"
    for file in dict.fromkeys([name, LAST, PREVIOUS, BEST]):
        candidate = path / "checkpoints" / file
        if not candidate.is_file():
            continue
        if name == BEST:  # the other checkpoints are different models
            return candidate
        try:
            verify(candidate)
            return candidate
        except UserError as error:
            print(f"warning: skipped: {error}", file=sys.stderr)
            problem = "all checkpoints are damaged; train the run again"
    raise UserError(f"{path}: {problem}")
