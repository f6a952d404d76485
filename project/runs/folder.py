"""The folder of a run: `lightning_logs/version_N/` with config.yaml, metrics.json and checkpoints/{best,last}.ckpt."""

import contextlib
import csv
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from project.runs.checkpoint_io import verify
from project.runtime.errors import UserError
from project.runtime.files import atomic_write

ROOT = Path("lightning_logs")
BEST, LAST, PREVIOUS = "best.ckpt", "last.ckpt", "previous.ckpt"
LATEST = "last"  # what users call the newest run
ARTIFACTS = (".onnx", ".pt2", ".torchscript", ".safetensors", ".pt")
LOCK = ".lock"
OWN_FILES = (LOCK, "config.yaml", "hparams.yaml", "metrics.csv", "events.out.tfevents.*", "checkpoints/*.unfinished")


def remove_own_files(run: Path) -> None:
    """Remove what a run without checkpoints has written, and folders that are then empty; nobody else's files."""
    for pattern in OWN_FILES:
        for path in run.glob(pattern):
            path.unlink(missing_ok=True)
    for folder in (run / "checkpoints", run):
        with contextlib.suppress(OSError):  # it holds something else, or was never there
            folder.rmdir()


def claim_version(root: Path, kind: str = "version") -> Path:
    """Make the first unused `version_N` under a folder; another process that asks at the same time gets another."""
    while True:
        path = next_version(root, kind)
        with contextlib.suppress(FileExistsError):
            path.mkdir(parents=True)
            return path


def next_version(root: Path, kind: str = "version") -> Path:
    """The first unused `version_N`, or `KIND_N`, under a folder."""
    numbers = [path.name.removeprefix(f"{kind}_") for path in root.glob(f"{kind}_*")]
    return root / f"{kind}_{max((int(number) for number in numbers if number.isdigit()), default=-1) + 1}"


def write_metrics(folder: Path, metrics: Mapping[str, float]) -> None:
    """Write metrics.json: one flat object, sorted by name; what is not a finite number becomes null."""
    finite = {name: value if abs(value) < float("inf") else None for name, value in sorted(metrics.items())}
    with atomic_write(folder / "metrics.json") as temporary:
        temporary.write_text(json.dumps(finite, indent=2) + "\n")


def write_coefficients(folder: Path, columns: Mapping[str, Sequence[str | float]]) -> None:
    """Write coefficients.csv: one line a coefficient, every number with all its digits."""
    with (folder / "coefficients.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(zip(*columns.values(), strict=True))


def find_checkpoint(reference: str, name: str = BEST, root: Path = ROOT) -> Path:
    """The checkpoint that a user's args mean.

    Where `last.ckpt` of a run folder is damaged, the one before it is taken, and the damage told.

    Args:
        reference: A run folder, a checkpoint file, or `last`: the newest run that has a checkpoint.
        name: Which checkpoint of a run folder; another one is taken where it is missing.
        root: Where `last` looks for runs.

    Raises:
        UserError: If there is none.
    """
    if reference == LATEST:
        found = [path for path in root.glob("version_*/checkpoints/*.ckpt") if path.name in (BEST, LAST)]
        if not found:
            raise UserError(f"last: no run under {root} has a checkpoint: train one with python scripts/train.py")
        reference = str(max(found, key=lambda path: path.stat().st_mtime_ns).parents[1])
    path = Path(reference)
    if path.is_file() and path.suffix in ARTIFACTS:
        raise UserError(f"{path}: an artifact, and no run: give the run that it was made of")
    if path.is_file():
        return path
    if not path.exists():
        raise UserError(f"{path}: no such run or checkpoint")
    folder = path / "checkpoints"
    candidates = [folder / file for file in dict.fromkeys([name, LAST, PREVIOUS, BEST]) if (folder / file).is_file()]
    if not candidates:
        raise UserError(f"{path}: no checkpoints/{BEST} or {LAST} in it: give the folder of a finished run")
    if name == BEST:  # another one would be another model
        return candidates[0]
    for candidate in candidates:
        try:
            verify(candidate)
            return candidate
        except UserError as error:
            print(f"warning: passed over: {error}", file=sys.stderr)
    raise UserError(f"{path}: all its checkpoints are damaged: train again")
