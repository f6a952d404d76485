"""Removing runs: what would go is listed first, and nothing that is being trained goes."""

import shutil
from collections.abc import Sequence
from pathlib import Path

from project.overview.summary import RunSummary
from project.runtime.errors import UserError


def runs_to_remove(runs: Sequence[RunSummary], references: Sequence[str], root: Path) -> list[RunSummary]:
    """Return the runs that references name: a name in the table, a path, or the folder of a sweep or pipeline.

    Raises:
        UserError: If a reference is no run of `root`.
    """
    top, found = root.resolve(), dict[Path, RunSummary]()
    for reference in references:
        places = {place for place in ((root / reference).resolve(), Path(reference).resolve()) if top in place.parents}
        named = [run for run in runs if places & {run.path.resolve(), *run.path.resolve().parents}]
        if not named:
            raise UserError(f"--delete: {reference} is no run in {root}; python scripts/runs.py lists them")
        found |= {run.path: run for run in named}
    return list(found.values())


def remove(runs: Sequence[RunSummary], root: Path) -> None:
    """Remove the folders of runs, and the folders of sweeps and pipelines that have no run left.

    Raises:
        UserError: If a run is being trained; then nothing is removed.
    """
    if busy := [run.name for run in runs if run.state == "training"]:
        raise UserError(f"{', '.join(busy)}: being trained by another process; wait or stop it")
    for run in runs:
        shutil.rmtree(run.path)
    for run in runs:
        for parent in run.path.parents:
            if parent == root or root not in parent.parents:
                break
            if parent.is_dir() and not any(parent.rglob("config.yaml")):
                shutil.rmtree(parent)


def users_of(runs: Sequence[RunSummary], others: Sequence[RunSummary]) -> list[str]:
    """Return a sentence for each of the others that was trained from one of the runs."""
    sources = [
        (other.name, Path(str(other.settings[name])))
        for other in others
        for name in ("weights.path", "model.teacher")
        if name in other.settings
    ]
    return [
        f"{name} was trained from {run.name}"
        for run in runs
        for name, source in sources
        if run.path.resolve() in (source, *source.parents)
    ]
