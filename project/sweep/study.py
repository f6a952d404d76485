"""The study of a sweep on disk, and which process trains which of its trials.

Whoever trains a trial holds a lock, which the operating system takes from a process that dies, and from no other: then
the next one goes on with the trial.
"""

import contextlib
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from filelock import FileLock, Timeout

from project.runs.folder import ROOT
from project.runtime.errors import UserError
from project.runtime.files import check_folder
from project.sweep.ranges import distribution
from project.sweep.settings import Settings, refuse_changes

if TYPE_CHECKING:
    from optuna import Study, Trial
    from optuna.storages import RDBStorage

DATABASE, NAME, LOCK = "study.db", "sweep", ".lock"
DATABASE_SECONDS = 60
TRIALS = 20
PRUNERS = {
    "median": "MedianPruner",
    "halving": "SuccessiveHalvingPruner",
    "hyperband": "HyperbandPruner",
    "none": "NopPruner",
}


def storage(folder: Path) -> "RDBStorage":
    """The database of a study."""
    import optuna
    from optuna.exceptions import StorageInternalError
    from optuna.storages import RDBStorage
    from sqlalchemy.exc import DatabaseError

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    path = folder / DATABASE
    try:
        return RDBStorage(f"sqlite:///{path}", engine_kwargs={"connect_args": {"timeout": DATABASE_SECONDS}})
    except (DatabaseError, StorageInternalError) as error:
        raise UserError(f"{path}: not the database of a study: {str(error).splitlines()[0]}") from error


def open_study(folder: Path) -> "Study":
    """The study of a folder."""
    import optuna

    study = optuna.load_study(study_name=NAME, storage=storage(folder))
    study.pruner = getattr(optuna.pruners, PRUNERS[study.user_attrs["settings"]["pruner"]])()
    return study


def stored_settings(folder: Path | None) -> Settings:
    """What the sweep of a folder was begun with; empty where there is none."""
    if folder is None or not (folder / DATABASE).exists():
        return {}
    with FileLock(folder / LOCK), contextlib.suppress(KeyError):  # its process died before it wrote them
        return open_study(folder).user_attrs["settings"]
    return {}


def begin(folder: Path | None, settings: Settings, trials: int | None) -> tuple[Path, int]:
    """Make a folder and its study unless they are there; return the folder, and how many trials there are to be."""
    import optuna

    if folder is None:
        folder = claim_folder(Path(settings["config"]["trainer"]["default_root_dir"] or ".") / ROOT)
    check_folder(folder, "a sweep", DATABASE)
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / LOCK):
        study = optuna.create_study(
            study_name=NAME, storage=storage(folder), direction=settings["direction"], load_if_exists=True
        )
        if "settings" in study.user_attrs:  # perhaps since a moment ago
            refuse_changes(folder, study.user_attrs["settings"], settings)
        study.set_user_attr("settings", {name: value for name, value in settings.items() if name != "trust"})
        total = trials or study.user_attrs.get("trials", TRIALS)
        study.set_user_attr("trials", total)
    return folder, total


def claim_folder(root: Path) -> Path:
    """Make the first unused `sweep_N` under a folder; another process that asks at the same time gets another."""
    for number in itertools.count():
        with contextlib.suppress(FileExistsError):
            path = root / f"sweep_{number}"
            path.mkdir(parents=True)
            return path
    raise AssertionError


def ended(study: "Study") -> int:
    """How many trials have ended, in any way."""
    return sum(trial.state.is_finished() for trial in study.get_trials(deepcopy=False))


@contextlib.contextmanager
def claim(study: "Study", folder: Path, total: int) -> Iterator["Trial | None"]:
    """A trial to train: one whose process has died, else a new one; None while others train the last ones."""
    with FileLock(folder / LOCK):
        trial, lock = _locked_trial(study, folder, total) or (None, None)
    try:
        yield trial
    finally:
        if lock is not None:
            lock.release()
    if lock is not None:
        Path(lock.lock_file).unlink(missing_ok=True)


def _locked_trial(study: "Study", folder: Path, total: int) -> "tuple[Trial, FileLock] | None":
    from optuna import Trial
    from optuna.samplers import TPESampler

    settings, trials = study.user_attrs["settings"], study.get_trials(deepcopy=False)
    left = [trial.number for trial in trials if not trial.state.is_finished()]
    for number in [*left, len(trials)] if len(trials) < total else left:
        lock = FileLock(folder / f".trial_{number}.lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            continue
        # By number, so that a resumed sweep is_active what one without interruption would have chosen.
        seeds = np.random.SeedSequence((settings["seed"], number))
        study.sampler = TPESampler(seed=int(seeds.generate_state(1)[0]), constant_liar=True)
        if number == len(trials):
            trial = study.ask()
        elif (known := study.get_trials(deepcopy=False)[number]).state.is_finished():  # since a moment ago
            lock.release()
            continue
        else:
            trial = Trial(study, known._trial_id)
        for flag, text in settings["search"].items():
            trial._suggest(flag, distribution(flag, text))
        return trial, lock
    return None
