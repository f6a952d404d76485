"""Run a sweep, from its settings to the table of trials."""

import multiprocessing
import os
import shlex
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
from project.runtime.ranges import PositiveInt
from project.sweep.report import report, trial_line
from project.sweep.settings import Settings, check_settings, merge_settings
from project.sweep.study import claim_trial, count_finished, create_study, database_errors, open_study, stored_settings
from project.sweep.trial import run_trial

POLL_SECONDS = 0.2


def search(folder: Path | None, trials: PositiveInt | None, processes: PositiveInt, given: Mapping[str, Any]) -> None:
    """Start or resume a sweep, train until its last trial has finished, print all trials and write the best as YAML.

    `given` is described at `merge_settings`.

    Raises:
        UserError: If a setting is invalid, before the first trial; or if no trial is complete, after the last one.
    """
    if find_spec("optuna") is None:
        raise UserError('a sweep needs Optuna; install it with pip install -e ".[sweep]"')
    settings = check_settings(merge_settings(folder, stored_settings(folder), given))
    folder, total = create_study(folder, settings, trials)
    try:
        with database_errors(folder):
            run_in_processes(folder, settings, total, processes)
    except SystemExit:
        resume = " ".join(
            ["python scripts/sweep.py --folder", shlex.quote(os.path.relpath(folder)), *settings["trust"]]
        )
        done = count_finished(open_study(folder))
        print(f"stopped: {done} of {total} trials are finished; resume with {resume}", file=sys.stderr)
        raise
    report(open_study(folder), folder, settings)


def run_in_processes(folder: Path, settings: Settings, total: int, processes: int) -> None:
    """Run trials in this process and in `processes - 1` child processes until all have finished."""
    arguments = (folder, settings, total, processes)
    spawned = multiprocessing.get_context("spawn")
    children = [spawned.Process(target=run_trials_in_child, args=arguments) for _ in range(processes - 1)]
    # Children inherit this: they ignore Ctrl-C until their own handlers are installed.
    interrupted = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        for child in children:
            child.start()
        signal.signal(signal.SIGINT, interrupted)
        run_trials(*arguments)
        for child in children:
            child.join()
    finally:
        for child in children:
            if child.pid:
                child.terminate()
                child.join()


def run_trials(folder: Path, settings: Settings, total: int, processes: int) -> None:
    """Run trials, including those of processes that have died, until all have finished."""
    torch.set_num_threads(max(1, torch.get_num_threads() // processes))
    study = open_study(folder)
    while count_finished(study) < total:
        with claim_trial(study, folder, total) as trial:
            if trial is None:
                time.sleep(POLL_SECONDS)
            else:
                run_trial(trial, folder, settings)
                print(trial_line(study, trial.number), flush=True)


def run_trials_in_child(folder: Path, settings: Settings, total: int, processes: int) -> None:
    """Run trials in a child process, which stops when its parent ends."""
    parent = multiprocessing.parent_process()

    def stop_with_parent() -> None:
        if parent is not None:
            parent.join()
            os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=stop_with_parent, daemon=True).start()
    with exit_on_user_error():
        run_trials(folder, settings, total, processes)
