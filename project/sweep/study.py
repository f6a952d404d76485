"""The study of a sweep on disk, and the assignment of its trials to processes.

A process holds a file lock while it trains a trial. The operating system releases the lock of a process that dies, and
another process then resumes the trial.
"""

import contextlib
import errno
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from filelock import FileLock, Timeout

from project.config.changes import refuse_changes
from project.runs.folder import ROOT, claim_version
from project.runtime.address import remove_credentials
from project.runtime.errors import UserError
from project.runtime.files import check_folder
from project.sweep.ranges import suggest
from project.sweep.settings import Settings, comparable

if TYPE_CHECKING:
    from optuna import Study, Trial
    from optuna.storages import RDBStorage

DATABASE, NAME, LOCK = "study.db", "sweep", ".lock"
DATABASE_TIMEOUT = 60  # seconds
TRIALS = 20
OUTSIDE = (  # error codes of SQLite for problems of the machine
    *(sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_READONLY),
    *(sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_BUSY),
)
PRUNERS = {
    "median": "MedianPruner",
    "halving": "SuccessiveHalvingPruner",
    "hyperband": "HyperbandPruner",
    "none": "NopPruner",
}


def open_storage(folder: Path) -> "RDBStorage":
    """Open the database of a sweep, or create it."""
    import optuna
    from optuna.exceptions import StorageInternalError
    from optuna.storages import RDBStorage
    from sqlalchemy.exc import DatabaseError

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    path = folder / DATABASE
    try:
        with database_errors(folder):
            return RDBStorage(f"sqlite:///{path}", engine_kwargs={"connect_args": {"timeout": DATABASE_TIMEOUT}})
    except (DatabaseError, StorageInternalError) as error:
        raise UserError(f"{path}: not the database of a study: {str(error).splitlines()[0]}") from error


@contextlib.contextmanager
def database_errors(folder: Path) -> Iterator[None]:
    """Raise an OSError that names the database of a sweep for a full disk and other problems of the machine."""
    from optuna.exceptions import StorageInternalError
    from sqlalchemy.exc import OperationalError

    try:
        yield
    except (OperationalError, StorageInternalError) as error:
        cause = error.__cause__ if isinstance(error, StorageInternalError) else error
        lost = getattr(cause, "orig", None)
        if not isinstance(lost, sqlite3.Error) or lost.sqlite_errorcode & 0xFF not in OUTSIDE:
            raise
        raise OSError(errno.EIO, str(lost), str(folder / DATABASE)) from error


def open_study(folder: Path) -> "Study":
    """Load the study of a sweep, with its pruner."""
    import optuna

    study = optuna.load_study(study_name=NAME, storage=open_storage(folder))
    study.pruner = getattr(optuna.pruners, PRUNERS[study.user_attrs["settings"]["pruner"]])()
    return study


def stored_settings(folder: Path | None) -> Settings:
    """Return the settings that the sweep in a folder was started with; empty if there is no sweep."""
    if folder is None or not (folder / DATABASE).exists():
        return {}
    with _locked(folder), contextlib.suppress(KeyError):  # none if the process died before it stored them
        return open_study(folder).user_attrs["settings"]
    return {}


def create_study(folder: Path | None, settings: Settings, trials: int | None) -> tuple[Path, int]:
    """Create a sweep's folder and study unless they exist; return the folder and the total number of trials."""
    import optuna

    if folder is None:
        folder = claim_version(Path(settings["config"]["trainer"]["default_root_dir"] or ".") / ROOT, "sweep")
    check_folder(folder, "a sweep", DATABASE)
    folder.mkdir(parents=True, exist_ok=True)
    with _locked(folder):
        study = optuna.create_study(
            study_name=NAME, storage=open_storage(folder), direction=settings["direction"], load_if_exists=True
        )
        if "settings" in study.user_attrs:  # another process may just have stored them
            refuse_changes(folder, comparable(study.user_attrs["settings"]), comparable(settings))
        stored = {name: value for name, value in settings.items() if name != "trust"}
        study.set_user_attr("settings", remove_credentials(stored))
        total = trials or study.user_attrs.get("trials", TRIALS)
        study.set_user_attr("trials", total)
    return folder, total


def count_finished(study: "Study") -> int:
    """Return the number of trials that are complete, pruned or failed."""
    return sum(trial.state.is_finished() for trial in study.get_trials(deepcopy=False))


@contextlib.contextmanager
def claim_trial(study: "Study", folder: Path, total: int) -> Iterator["Trial | None"]:
    """Yield a trial to train: one whose process died, else a new one; None if other processes train the last ones."""
    with _locked(folder):
        trial, lock = _locked_trial(study, folder, total) or (None, None)
    try:
        yield trial
    finally:
        if lock is not None:
            lock.release()
    if lock is not None:
        Path(lock.lock_file).unlink(missing_ok=True)


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Lock a sweep; raise a UserError if another process does not unlock it, which usually takes a moment."""
    lock = FileLock(folder / LOCK, timeout=DATABASE_TIMEOUT)
    try:
        lock.acquire()
    except Timeout:
        raise UserError(
            f"{folder}: locked by another process for {DATABASE_TIMEOUT} seconds; stop that process"
        ) from None
    try:
        yield
    finally:
        lock.release()


def _locked_trial(study: "Study", folder: Path, total: int) -> "tuple[Trial, FileLock] | None":
    from optuna.samplers import TPESampler

    settings, trials = study.user_attrs["settings"], study.get_trials(deepcopy=False)
    unfinished = [trial.number for trial in trials if not trial.state.is_finished()]
    for number in [*unfinished, len(trials)] if len(trials) < total else unfinished:
        lock = FileLock(folder / f".trial_{number}.lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            continue
        # The seed depends on the trial's number, so that a resumed sweep samples the same as an uninterrupted one.
        seeds = np.random.SeedSequence((settings["seed"], number))
        study.sampler = TPESampler(seed=int(seeds.generate_state(1)[0]), constant_liar=True)
        if number == len(trials):
            trial = study.ask()
        elif study.get_trials(deepcopy=False)[number].state.is_finished():  # another process has just finished it
            lock.release()
            continue
        else:
            trial = _existing_trial(study, folder, number)
        for flag, text in settings["search"].items():
            suggest(trial, flag, text)
        return trial, lock
    return None


def _existing_trial(study: "Study", folder: Path, number: int) -> "Trial":
    from optuna import Trial

    storage = open_storage(folder)
    study_id = storage.get_study_id_from_name(NAME)
    return Trial(study, storage.get_trial_id_from_study_id_trial_number(study_id, number))
