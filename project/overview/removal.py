"""Find and remove runs; a run that is being trained is never removed."""

import shutil
from collections.abc import Sequence
from pathlib import Path

from project.overview.summary import RunSummary
from project.runtime.errors import UserError


def find_runs(
    runs: Sequence[RunSummary], reference: str, root: Path, flag: str, in_folders: bool = True
) -> list[RunSummary]:
    """Return the runs that a reference names.

    It is a name in the table or a path; with `in_folders`, also the folder of a sweep or pipeline.

    Raises:
        UserError: If the reference, a value of `flag`, is not a run in `root`.
    """
    top = root.resolve()
    places = {place for place in ((root / reference).resolve(), Path(reference).resolve()) if top in place.parents}
    found = [run for run in runs if places & {run.path.resolve(), *(run.path.resolve().parents if in_folders else ())}]
    if not found:
        raise UserError(f"{flag}: {reference} is not a run in {root}; python scripts/runs.py lists the runs")
    return found


def remove(runs: Sequence[RunSummary], root: Path) -> None:
    """Remove the folders of runs, and the folders of sweeps and pipelines that have no run left.

    Raises:
        UserError: If a run is being trained; then nothing is removed.
    """
    if busy := [run.name for run in runs if run.state == "training"]:
        raise UserError(f"{', '.join(busy)}: being trained by another process; wait until it ends, or stop it")
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
