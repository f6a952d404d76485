"""Sweeps whose processes are stopped or killed for real go on where they ended."""

import contextlib
import os
import re
import signal
import sqlite3

import pytest

from project.sweep.study import open_study
from tests.command import Command, run_script
from tests.scripts.sweeps import RATE, SMALL, S, facts
from tests.scripts.test_stops import children, ended, wait_for

# Long enough to be interrupted midway.
LONG = [*RATE, "--search.data.batch_size", "int(5, 20)", *SMALL, "--trainer.max_epochs", "40"]


def wait_for_epochs(command, folder, *numbers):
    """Wait until each of these trials has reported a few epochs."""
    query = "select count(*) from trial_intermediate_values join trials using (trial_id) where number = ?"

    def reported():
        assert command.running, command.stderr
        if not (folder / "study.db").exists():
            return False
        with contextlib.suppress(sqlite3.OperationalError), sqlite3.connect(folder / "study.db") as database:
            return all(database.execute(query, [number]).fetchone()[0] > 3 for number in numbers)

    wait_for(reported)


@pytest.mark.slow
def test_a_killed_and_resumed_sweep_equals_an_uninterrupted_one(folder):
    args = [*LONG, "--trials", "2"]
    assert run_script(folder, "sweep", *args, "--folder", "whole").returncode == 0
    for trial in (0, 1):
        command = Command(folder, "sweep", *args, "--folder", "killed")
        wait_for_epochs(command, folder / "killed", trial)
        os.kill(command.pid, signal.SIGKILL)
        command.finish()
    assert run_script(folder, "sweep", "--folder", "killed").returncode == 0
    assert facts(folder / "killed") == facts(folder / "whole")
    for number, trial in enumerate(open_study(folder / "killed").trials):
        first, then = trial.user_attrs["starts"]
        assert first == 0 < then  # from a checkpoint, and not from the beginning:
        files = [len(list((folder / name / f"trial_{number}").glob("events*"))) for name in ("whole", "killed")]
        assert files[1] > files[0]


@pytest.mark.slow
def test_a_signal_stops_a_sweep_and_prints_the_command_that_resumes_it(folder):
    args = [*LONG, "--trials", "2"]
    for number, name in enumerate(["SIGTERM", "SIGINT"]):
        command = Command(folder, "sweep", *args)
        wait_for_epochs(command, folder / "lightning_logs/sweep_0", number)
        os.kill(command.pid, signal.Signals[name])
        done = command.finish()
        assert done.returncode == 128 + signal.Signals[name]
        [resume] = re.findall(
            rf"{number} of 2 trials are finished; resume with python scripts/sweep.py (.*)\n", done.stderr
        )
        args = resume.split()
    assert run_script(folder, "sweep", *args).returncode == 0
    trials = open_study(folder / "lightning_logs/sweep_0").trials
    assert [len(trial.intermediate_values) for trial in trials] == [40, 40]
    assert all(len(trial.user_attrs["starts"]) == 1 and trial.user_attrs["starts"][0] > 3 for trial in trials)


@pytest.mark.slow
def test_two_commands_share_a_sweep_and_one_resumes_the_trial_of_the_other_when_it_is_killed(folder):
    args = [*LONG, "--trials", "3", "--folder", "s"]
    commands = [Command(folder, "sweep", *args) for _ in range(2)]
    wait_for_epochs(commands[0], S, 0, 1)
    os.kill(commands[0].pid, signal.SIGKILL)
    commands[0].finish()
    done = commands[1].finish()
    assert done.returncode == 0, done.stderr
    trials = open_study(S).trials
    assert [trial.number for trial in trials] == [0, 1, 2]
    assert {trial.state.name for trial in trials} <= {"COMPLETE", "PRUNED"}
    assert sorted(len(trial.user_attrs["starts"]) for trial in trials) == [1, 1, 2]
    assert len(list(S.glob("trial_*/metrics.json"))) == 3


def killed_midway(folder, trials, finished):
    """Run a sweep in two processes, kill the parent midway, and resume the sweep."""
    args = [*LONG, "--trials", trials, "--processes", 2, "--folder", "s"]
    command = Command(folder, "sweep", *args)
    wait_for_epochs(command, S, finished + 1)
    others = children(command.pid)
    os.kill(command.pid, signal.SIGKILL)
    command.finish()
    wait_for(lambda: all(ended(other) for other in others))
    before = [trial for trial in facts(S) if trial[1] != "RUNNING"]
    assert finished <= len(before) < trials
    done = Command(folder, "sweep", "--folder", "s").finish()
    assert done.returncode == 0, done.stderr
    after = facts(S)
    assert [trial[0] for trial in after] == list(range(trials))
    assert {trial[1] for trial in after} <= {"COMPLETE", "PRUNED"}
    assert [trial for trial in after if trial in before] == before
    assert sum(len(trial.user_attrs["starts"]) for trial in open_study(S).trials) <= trials + 2
    with sqlite3.connect(S / "study.db") as database:
        assert database.execute("select count(*) from trials").fetchone() == (trials,)


@pytest.mark.slow
def test_child_processes_end_with_their_parent_and_a_resumed_sweep_runs_the_requested_number_of_trials(folder):
    killed_midway(folder, 3, 1)


@pytest.mark.slow
def test_twenty_trials_in_two_processes_with_one_killed(folder):
    killed_midway(folder, 20, 8)
