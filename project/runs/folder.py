"""The folder of a run: `lightning_logs/version_N/` with config.yaml, metrics.json and checkpoints/{best,last}.ckpt."""

import contextlib
import csv
import json
import os
import re
import sys
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

from project.runtime.address import local_path
from project.runtime.errors import UserError
from project.runtime.files import atomic_write

ROOT = Path("lightning_logs")
BEST, LAST, PREVIOUS = "best.ckpt", "last.ckpt", "previous.ckpt"
EPOCH_BEST = "best-epoch.ckpt"  # the best epoch, if the run also has a best.ckpt from a step within an epoch
PUBLIC = ("config.json", "adapter_config.json")  # files in folders of Hugging Face and of peft
CHECKPOINTS, USERS = "checkpoints", "user"  # folders: `checkpoints/`, and `checkpoints/user/` of the user's callbacks
LATEST = "last"  # the reference to the newest run
ARTIFACTS = (".onnx", ".pt2", ".torchscript", ".safetensors", ".pt")
LOCK, METRICS = ".lock", "metrics.json"
UNFINISHED = "its training has not ended; resume it with --ckpt_path"
OWN_FILES = (LOCK, "config.yaml", "hparams.yaml", "metrics.csv", "events.out.tfevents.*", "checkpoints/*.unfinished")


def remove_own_files(run: Path) -> None:
    """Remove the files of a run that has no checkpoints, and its folders if they are then empty."""
    for pattern in OWN_FILES:
        for path in run.glob(pattern):
            path.unlink(missing_ok=True)
    for folder in (run / "checkpoints", run):
        with contextlib.suppress(OSError):  # not empty, or missing
            folder.rmdir()


def claim_version(root: Path, kind: str = "version") -> Path:
    """Create the first unused `version_N`, or `KIND_N`, in a folder. Concurrent processes get different ones."""
    while True:
        path = next_version(root, kind)
        with contextlib.suppress(FileExistsError):
            path.mkdir(parents=True)
            return path


def run_name(name: str) -> str:
    """Return the name of a run if it is valid.

    Raises:
        UserError: If it is `last`, could be that of another stage such as `version_3`, or has other characters.
    """
    if not re.fullmatch(r"[\w][\w.+=-]*", name) or name == LATEST or re.fullmatch(r"[a-z]+_\d+", name):
        hint = f"use letters, digits and . + = - _, as in wide-net, but not `{LATEST}` or a name like version_3"
        raise UserError(f"--name: {name!r} cannot name a run; {hint}")
    return name


def next_version(root: Path, kind: str = "version") -> Path:
    """Return the first unused `version_N`, or `KIND_N`, in a folder."""
    numbers = [path.name.removeprefix(f"{kind}_") for path in root.glob(f"{kind}_*")]
    return root / f"{kind}_{max((int(number) for number in numbers if number.isdecimal()), default=-1) + 1}"


def write_metrics(folder: Path, metrics: Mapping[str, float]) -> None:
    """Write metrics.json: one flat object, sorted by name; infinite numbers and NaN become null."""
    finite = {name: value if abs(value) < float("inf") else None for name, value in sorted(metrics.items())}
    with atomic_write(folder / METRICS) as temporary:
        temporary.write_text(json.dumps(finite, indent=2) + "\n")


def write_coefficients(folder: Path, columns: Mapping[str, Sequence[str | float]]) -> None:
    """Write coefficients.csv, with one line per coefficient and all digits of every number."""
    with atomic_write(folder / "coefficients.csv") as temporary, temporary.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(zip(*columns.values(), strict=True))


def find_checkpoint(reference: str, name: str = BEST, root: Path = ROOT) -> Path:
    """Return the checkpoint file of a reference.

    If the training of the run has not ended, it should be resumed from its `last.ckpt`. When the `best.ckpt` of such a
    run is requested as an input, `last` skips the run, and any other reference to it prints a warning.

    Args:
        reference: A checkpoint file, a run folder, or `last` for the newest run in `root`. For public weights, a GGUF
            file or a folder, of which the `config.json` is returned.
        name: The preferred checkpoint of a run folder. If it is missing, another one is returned. If `last.ckpt` is
            damaged, a warning is printed, and the one before it is returned.
        root: The folder of runs.

    Raises:
        UserError: If there is no such checkpoint.
    """
    if reference == LATEST:
        newest = _newest_run(root, name)
        _print_newest(newest)
        reference = str(newest)
    path = local_path(reference)
    if path.is_file() and path.suffix not in ARTIFACTS:
        if name == BEST and (run := run_of(path)) is not None:
            _warn_if_unfinished(run)
        return path
    checkpoint, damaged = _find_in_run(path, name)
    found = checkpoint or next((path / file for file in PUBLIC if (path / file).is_file()), None)
    if found is not None:
        return found
    problem = "no such run or checkpoint; python scripts/runs.py lists the runs"
    if (root / path / CHECKPOINTS).is_dir():
        problem = f"no such run or checkpoint; did you mean {root / path}?"
    if path.is_file():
        problem = "expected a run, got an exported file; pass the run it was exported from"
    elif damaged:
        problem = "all checkpoints are damaged; train the run again"
    elif path.exists():
        problem = f"no checkpoints/{BEST} or {LAST}; pass the folder of a run"
    raise UserError(f"{path}: {problem}")


def _find_in_run(run: Path, name: str) -> tuple[Path | None, bool]:
    """Return the preferred checkpoint of a run, and whether there were damaged ones."""
    damaged = False
    for file in dict.fromkeys([name, LAST, PREVIOUS, BEST]):
        candidate = run / CHECKPOINTS / file
        if not candidate.is_file():
            continue
        if name == BEST:  # the other checkpoints are different models, so a damaged one is not skipped
            _warn_if_unfinished(run.absolute())
            return candidate, damaged
        try:
            from project.runs.checkpoint_io import verify  # imported here because it imports torch

            verify(candidate)
            return candidate, damaged
        except UserError as error:
            print(f"warning: skipped: {error}", file=sys.stderr)
            damaged = True
    return None, damaged


def run_of(checkpoint: Path) -> Path | None:
    """Return the run that contains a checkpoint, in `checkpoints/` or `checkpoints/user/`; None if no run does."""
    folder = next((parent for parent in checkpoint.absolute().parents[:2] if parent.name == CHECKPOINTS), None)
    return None if folder is None else folder.parent


def is_finished(run: Path) -> bool:
    """Whether the training of a run has ended, so that its metrics belong to its checkpoints."""
    return (run / METRICS).exists()


def _newest_run(root: Path, name: str) -> Path:
    """Return the newest run with a checkpoint. Its training has ended, unless `last.ckpt` is requested to resume it."""
    found = [path for path in root.glob("*/checkpoints/*.ckpt") if path.name in (BEST, LAST)]
    times: dict[Path, int] = {}
    for path in found:
        times[path.parents[1]] = max(path.stat().st_mtime_ns, times.get(path.parents[1], 0))
    runs = sorted(times, key=lambda run: times[run], reverse=True)
    chosen = next((run for run in runs if name == LAST or is_finished(run)), None)
    if chosen is not None:
        for run in runs[: runs.index(chosen)]:
            _warn_unfinished(run.absolute(), "skipped ")
        return chosen
    no_run = f"no run in {root} has a checkpoint; train one with python scripts/train.py"
    raise UserError(f"last: {runs[0]}: {UNFINISHED}, or pass its folder" if runs else f"last: {no_run}")


def _warn_if_unfinished(run: Path) -> None:
    if (run / "config.yaml").exists() and not is_finished(run):
        _warn_unfinished(run)


@cache  # print it once, although a command looks for its run several times
def _print_newest(run: Path) -> None:
    if sys.stderr.isatty():
        print(f"{LATEST} is {os.path.relpath(run)}", file=sys.stderr)


@cache
def _warn_unfinished(run: Path, before: str = "") -> None:
    print(f"warning: {before}{os.path.relpath(run)}: {UNFINISHED}", file=sys.stderr)
