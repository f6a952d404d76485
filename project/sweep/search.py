"""A search, from its settings to its table of trials."""

import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from project.runtime.errors import UserError, exit_on_user_error
from project.sweep.report import report, trial_line
from project.sweep.settings import Settings, agree, check
from project.sweep.study import begin, claim, ended, open_study, stored_settings
from project.sweep.trial import run_trial

POLL_SECONDS = 0.2


def search(folder: Path | None, trials: int | None, processes: int, given: Mapping[str, Any]) -> None:
    """Begin a sweep or go on with one until its last trial has ended; print the trials and write the best one's YAML.

    Args:
        folder: Of the study and its runs; None for a new `lightning_logs/sweep_N`.
        trials: How many there are to be in all; None for as many as before, or 20.
        processes: How many to train at a time.
        given: See `agree`.

    Raises:
        UserError: Before any trial, if there is a mistake in what was given; after them, if none came to a result.
    """
    if find_spec("optuna") is None:
        raise UserError('a sweep needs Optuna: pip install -e ".[sweep]"')
    for flag, number, least in [("trials", trials, 1), ("processes", processes, 1), ("seed", given["seed"], 0)]:
        if number is not None and number < least:
            raise UserError(f"--{flag} is {number}: give {least} or more")
    settings = check(agree(folder, stored_settings(folder), given))
    folder, total = begin(folder, settings, trials)
    try:
        work_together(folder, settings, total, processes)
    except SystemExit:
        resume = " ".join(["python scripts/sweep.py --folder", os.path.relpath(folder), *settings["trust"]])
        done = ended(open_study(folder))
        print(f"stopped with {done} of {total} trials done: go on with {resume}", file=sys.stderr)
        raise
    report(open_study(folder), folder, settings)


def work_together(folder: Path, settings: Settings, total: int, processes: int) -> None:
    """Train trials in this process and in others, until all have ended."""
    arguments = (folder, settings, total, processes)
    spawned = multiprocessing.get_context("spawn")
    children = [spawned.Process(target=work_for_parent, args=arguments) for _ in range(processes - 1)]
    interrupted = signal.signal(signal.SIGINT, signal.SIG_IGN)  # so do children, until they can do better
    try:
        for child in children:
            child.start()
        signal.signal(signal.SIGINT, interrupted)
        work(*arguments)
        for child in children:
            child.join()
    finally:
        for child in children:
            if child.pid:
                child.terminate()
                child.join()


def work(folder: Path, settings: Settings, total: int, processes: int) -> None:
    """Train trials, also those that other processes have left, until all have ended."""
    torch.set_num_threads(max(1, torch.get_num_threads() // processes))
    study = open_study(folder)
    while ended(study) < total:
        with claim(study, folder, total) as trial:
            if trial is None:
                time.sleep(POLL_SECONDS)
            else:
                run_trial(trial, folder, settings)
                print(trial_line(study, trial.number), flush=True)


def work_for_parent(folder: Path, settings: Settings, total: int, processes: int) -> None:
    """The same, and end with the process that has started this one."""
    parent = multiprocessing.parent_process()

    def watch() -> None:
        if parent is not None:
            parent.join()
            os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, daemon=True).start()
    with exit_on_user_error():
        work(folder, settings, total, processes)
