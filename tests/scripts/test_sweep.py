"""Sweeps whose processes are killed for real; the values of each trial are compared with its run."""

import contextlib
import json
import os
import re
import signal
import sqlite3
import statistics
from pathlib import Path

import optuna
import pytest
import yaml
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from project.inference.evaluate import evaluate
from project.runtime.errors import UserError
from project.stages.base import parse
from project.sweep.experiment import without_defaults
from project.sweep.ranges import as_args, read_range, split_search_args
from project.sweep.search import search
from project.sweep.study import open_study
from project.training.train import train
from tests.command import REPOSITORY, Command, run_script
from tests.scripts.test_imports import imported
from tests.scripts.test_stops import children, ended, wait_for
from tests.scripts.test_tensorboard import read_scalars

RATE = ["--search.optimizer.lr", "log(1e-3, 1)"]
S = Path("s")
SMALL = ["--data.rows", "50", "--data.features", "2", "--trainer.max_epochs", "3"]
# Long enough to be interrupted midway.
LONG = [*RATE, "--search.data.batch_size", "int(5, 20)", *SMALL, "--trainer.max_epochs", "40"]


def sweep(*args, folder=S, trials=3, **options):
    """Run a sweep in this process."""
    given = {**dict.fromkeys(("metric", "direction", "pruner", "seed")), "trust": [], **options}
    given["search"], given["args"] = split_search_args(args)
    search(folder, trials, 1, given)


def facts(folder):
    """Return what a study has stored about each trial."""
    return [(t.number, t.state.name, t.value, t.params, t.intermediate_values) for t in open_study(folder).trials]


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


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    """The folder of a finished sweep, and what the sweep printed."""
    working_folder = tmp_path_factory.mktemp("swept")
    args = [*RATE, "--search.optimizer", "choice(SGD, Adam)", "--search.data.batch_size", "int(5, 50)"]
    done = run_script(working_folder, "sweep", *args, *SMALL, "--trials", 8)
    assert (done.returncode, done.stderr) == (0, "")
    return working_folder / "lightning_logs" / "sweep_0", done.stdout


def test_the_best_trial_is_marked_in_a_table_of_all(swept):
    folder, printed = swept
    trials = open_study(folder).trials
    best = min((trial for trial in trials if trial.state.name == "COMPLETE"), key=lambda trial: trial.value)
    rows = re.findall(r"│ (\d+) +│ (\w+) +│ +(\S+) │ +(\S+) │ +(\w+) │ +(\d+) │ +(\S+) │", printed)
    assert [int(row[0]) for row in rows] == list(range(8))
    assert [int(row[0]) for row in rows if row[1] == "best"] == [best.number]
    for (_, _, value, rate, optimizer, size, _), trial in zip(rows, trials, strict=True):
        assert float(value) == pytest.approx(trial.value, rel=1e-5)
        assert float(rate) == pytest.approx(trial.params["optimizer.lr"], rel=1e-3)
        assert (optimizer, int(size)) == (trial.params["optimizer"], trial.params["data.batch_size"])
    assert len({row[3] for row in rows}) == 8
    assert f"Best:        lightning_logs/sweep_0/trial_{best.number}, val/loss" in printed


def test_the_value_of_a_trial_is_the_minimum_of_its_curve(swept):
    folder, _ = swept
    for trial in open_study(folder).trials:
        curve = [value for _, value in read_scalars(folder / f"trial_{trial.number}")["val/loss"]]
        assert list(trial.intermediate_values.values()) == pytest.approx(curve)
        if trial.state.name == "COMPLETE":
            assert trial.value == pytest.approx(min(curve))


def test_every_trial_is_a_complete_run(swept):
    folder, _ = swept
    for trial in open_study(folder).trials:
        run = folder / f"trial_{trial.number}"
        config = yaml.safe_load((run / "config.yaml").read_text())
        assert config["optimizer"]["class_path"].endswith(trial.params["optimizer"])
        assert config["optimizer"]["init_args"]["lr"] == trial.params["optimizer.lr"]
        assert (config["trainer"]["callbacks"], config["trainer"]["logger"]) == (None, None)
        written = json.loads((run / "metrics.json").read_text())
        assert evaluate(str(run))[0]["test/mse"] == pytest.approx(written["test/mse"])


def test_trials_worse_than_the_median_are_pruned(swept):
    folder, _ = swept
    trials = open_study(folder).trials
    pruned = [trial for trial in trials if trial.state.name == "PRUNED"]
    assert pruned
    for trial in pruned:
        step = trial.last_step
        assert step < 2
        others = [
            min(value for at, value in other.intermediate_values.items() if at <= step)
            for other in trials[: trial.number]
            if other.state.name == "COMPLETE"
        ]
        assert min(trial.intermediate_values.values()) > statistics.median(others)


def test_tensorboard_compares_trials(swept):
    folder, _ = swept
    for number in range(8):
        events = EventAccumulator(str(folder / f"trial_{number}")).Reload()
        assert "_hparams_/session_start_info" in events.summary_metadata
        assert events.Scalars("test/mse")


def test_the_experiment_of_the_best_trial_trains_to_the_same_result(swept, folder, capsys):
    sweep_folder, _ = swept
    run = sweep_folder / f"trial_{open_study(sweep_folder).best_trial.number}"
    best = sweep_folder / "best.yaml"
    assert parse(["--config", str(best)]) == yaml.safe_load((run / "config.yaml").read_text())
    found, written = train(["--config", str(best)]), json.loads((run / "metrics.json").read_text())
    scores = {name: value for name, value in written.items() if name.startswith(("val/", "test/"))}
    assert {name: found[name] for name in scores} == pytest.approx(scores, rel=1e-6)
    assert (folder / "lightning_logs/version_0/checkpoints/best.ckpt").exists()
    header = re.match(r"(#.*\n)+", best.read_text())[0]
    assert "python scripts/train.py --config lightning_logs/sweep_0/best.yaml" in header
    assert "--optimizer.lr log(1e-3, 1)" in header
    settings = yaml.safe_load(best.read_text())
    assert settings["trainer"] == {"max_epochs": 3}
    assert settings["model"] == {"class_path": "project.models.Regression"}


@pytest.mark.parametrize(
    "experiment", sorted((REPOSITORY / "scripts/experiments").glob("*.yaml")), ids=lambda p: p.stem
)
def test_an_experiment_without_defaults_parses_to_the_same_settings(experiment, folder):
    (folder / "diabetes.csv").touch()
    config = parse(["--config", str(experiment)])
    (folder / "changed.yaml").write_text(text := yaml.safe_dump(without_defaults(config)))
    assert parse(["--config", "changed.yaml"]) == config
    assert len(text.splitlines()) <= len(experiment.read_text().splitlines()) + 3


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ("", "--search: no range to search; pass one"),
        ("--search.optimizer.lrr uniform(0,1)", "SGD has no argument 'lrr'"),
        ("--search.optimzer.lr uniform(0,1)", "unknown flag --optimzer.lr; did you mean --optimizer.lr 0.0?"),
        ("--search.optimizer.lr about(0,1)", "--search.optimizer.lr: must be uniform(low, high), "),
        ("--search.optimizer.lr", "or choice(one, another), got ''"),
        ("--search.optimizer.lr uniform(0,x)", "must have two numbers as bounds, as in uniform(1, 10), got"),
        ("--search.optimizer.lr uniform(0)", "must have two numbers as bounds, as in uniform(1, 10), got"),
        ("--search.data.batch_size int(1.5,3)", "must have two integers as bounds, as in int(1, 10), got"),
        (
            "--search.optimizer.lr log(1,0.1)",
            "--search.optimizer.lr: must have finite bounds, the lower one first, got 'log(1,0.1)'",
        ),
        ("--search.optimizer.lr uniform(nan,1)", "must have finite bounds, the lower one first"),
        ("--search.optimizer.lr uniform(0,inf)", "must have finite bounds, the lower one first"),
        ("--search.optimizer.lr log(0,0.1)", "must have bounds above 0 for a logarithmic scale"),
        ("--search.data.batch_size logint(0,8)", "must have bounds above 0 for a logarithmic scale"),
        ("--search.optimizer choice()", "must list different choices"),
        ("--search.optimizer choice(SGD,SGD)", "must list different choices"),
        ("--search.optimizer.lr log(0.1,1) --search.optimizer.lr log(1,2)", "--search.optimizer.lr: passed twice"),
        ("--search.data.batch_size uniform(5,10)", "--data.batch_size: must be an integer, 1 or more, got 5.0"),
        ("--search.optimizer choice(SGD,Adam) --search.optimizer.momentum uniform(0,0.9)", "Adam has no argument"),
        ("--search.optimizer choice(SGD,Adamm)", "unknown class 'Adamm'; did you mean 'Adam'"),
        ("--search.optimizer.lr log(0.1,1) --optimizer.lr 0.1", "--optimizer.lr: it is searched; remove it"),
        ("--search.optimizer.lr log(0.1,1) --ckpt_path last", "--ckpt_path: trials start from new weights; remove it"),
        ("--search.trust choice(os,sys)", "--trust: a stored study cannot grant trust"),
        ("--search.optimizer.lr log(0.1,1) --trainer.logger false", "--trainer.logger: the stage needs runs"),
        (
            "--search.optimizer.lr log(0.1,1) --trainer.enable_checkpointing false",
            "--trainer.enable_checkpointing: the stage needs runs",
        ),
        (
            "--search.optimizer.lr log(0.1,1) --trainer.devices 2 --trainer.accelerator cpu",
            "--trainer.devices: must be 1 in a sweep",
        ),
        ("--search.optimizer.lr log(0.1,1) --data.rows 0", "--data.rows: must be an integer, 1 or more, got 0"),
    ],
)
def test_a_wrong_flag_is_reported_before_any_trial(folder, args, message):
    with pytest.raises(UserError) as caught:
        sweep(*args.split())
    assert message in str(caught.value)
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"metric": "val/accuracy"},
            "--metric: .*'val/accuracy'; use one of val/loss, val/mse, val/rmse, val/mae, val/r2",
        ),
        ({"metric": "test/mse"}, "--metric: validation logs no 'test/mse'"),
        ({"direction": "maximize"}, "--direction: must be minimize with --metric val/loss, got maximize"),
    ],
)
def test_a_wrong_option_is_reported_before_any_trial(folder, options, message):
    with pytest.raises(UserError, match=message):
        sweep(*RATE, **options)
    assert list(folder.iterdir()) == []


def test_a_folder_with_other_contents_is_left_unchanged(folder, capsys):
    train(["--trainer.max_epochs", "1"])
    run = Path("lightning_logs/version_0")
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    with pytest.raises(UserError, match="version_0: the folder holds something other than a sweep"):
        sweep(*RATE, folder=run)
    with pytest.raises(UserError, match="config.yaml: is a file; pass a folder"):
        sweep(*RATE, folder=run / "config.yaml")
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (
            ["--search.optimizer.lr", "log(1, 0.1)"],
            "--search.optimizer.lr: must have finite bounds, the lower one first, got 'log(1, 0.1)'",
        ),
        ([*RATE, "--trials", "0"], "--trials: must be an integer, 1 or more, got 0"),
        ([*RATE, "--seed", "-1"], "--seed: must be an integer, 0 or more, got -1"),
    ],
)
def test_a_mistake_prints_one_line_and_exits_with_2(folder, args, message):
    done = run_script(folder, "sweep", *args)
    assert (done.returncode, done.stdout, done.stderr) == (2, "", f"error: {message}\n")


def test_without_optuna_the_error_shows_how_to_install_it(folder, monkeypatch):
    monkeypatch.setattr("project.sweep.search.find_spec", lambda name: None)
    with pytest.raises(UserError, match=r'pip install -e "\.\[sweep\]"'):
        sweep(*RATE)


def test_a_file_that_is_no_database_is_reported(folder):
    S.mkdir()
    (S / "study.db").write_text("hello, I am no database, though I am long enough to be one " * 100)
    with pytest.raises(UserError, match="s/study.db: not the database of a study"):
        sweep(*RATE)


def test_choices_are_split_outside_brackets_and_quotes():
    assert read_range("a", "choice([64], [64, 64], {a: 1, b: 2}, true)")[1] == [
        "[64]",
        "[64, 64]",
        "{a: 1, b: 2}",
        "true",
    ]
    assert read_range("a", "choice('x, y', z)")[1] == ["x, y", "z"]


def test_classes_come_before_their_arguments():
    assert as_args({"optimizer.lr": 1e-5, "model.net.hidden": "[8, 8]", "optimizer": "Adam", "model.net": "MLP"}) == [
        "--optimizer=Adam",
        "--optimizer.lr=1e-05",
        "--model.net=MLP",
        "--model.net.hidden=[8, 8]",
    ]


def test_nets_of_several_sizes_and_classes_are_searched(folder, capsys):
    sweep(
        *["--search.model.net.hidden=choice([4], [4, 4])", "--model.net=MLP", "--search.model.l2=log(1e-6, 1e-2)"],
        *["--search.optimizer.lr=log(1e-3, 1)", *SMALL],
        metric="val/r2",
    )
    study = open_study(S)
    assert study.direction.name == "MAXIMIZE"
    assert study.best_value == max(trial.value for trial in study.trials if trial.state.name == "COMPLETE")
    for trial in study.trials:
        config = yaml.safe_load((S / f"trial_{trial.number}/config.yaml").read_text())
        hidden = config["model"]["init_args"]["net"]["init_args"]["hidden"]
        assert hidden == yaml.safe_load(trial.params["model.net.hidden"])


def test_the_penalty_of_ridge_regression_is_searched(folder, capsys):
    sweep("--model=LinearRegression", "--search.model.alpha=log(1e-3, 1e3)", "--data.rows=60")
    assert all(trial.state.name == "COMPLETE" for trial in open_study(S).trials)


def test_equal_seeds_repeat_a_sweep_and_other_seeds_do_not(folder, capsys):
    for name, seed in [("a", 0), ("b", 0), ("c", 1)]:
        sweep(*RATE, *SMALL, folder=folder / name, seed=seed, trials=2)
    assert facts(folder / "a") == facts(folder / "b")
    assert [trial[3] for trial in facts(folder / "a")] != [trial[3] for trial in facts(folder / "c")]


def test_a_failed_trial_is_reported_and_the_others_continue(folder, capsys):
    sweep("--search.optimizer.lr", "choice(0.1, 1e6)", *SMALL, trials=6)
    printed, trials = capsys.readouterr().out, open_study(S).trials
    failed = [trial for trial in trials if trial.params["optimizer.lr"] == "1e6"]
    assert 0 < len(failed) < 6
    assert [trial.number for trial in trials if trial.state.name == "FAIL"] == [trial.number for trial in failed]
    for trial in failed:
        assert re.search(
            rf"^trial {trial.number}: failed, --optimizer.lr .*: training diverges, the loss is", printed, re.MULTILINE
        )


def test_the_reason_is_reported_if_all_trials_fail(folder, capsys):
    with pytest.raises(
        UserError, match="no trial is complete; trial 1: failed, --optimizer.lr .*: training diverges, the loss is"
    ):
        sweep("--search.optimizer.lr", "uniform(1e6, 1e7)", *SMALL, trials=2)
    assert not (S / "best.yaml").exists()


def test_a_trial_whose_processes_keep_dying_fails(folder, capsys):
    sweep(*RATE, *SMALL, trials=1)
    study = open_study(S)
    lost = study.ask({"optimizer.lr": optuna.distributions.FloatDistribution(1e-3, 1, log=True)})
    lost.set_user_attr("starts", [0, 0, 0])
    sweep(trials=3)
    assert [trial[1] for trial in facts(S)] == ["COMPLETE", "FAIL", "COMPLETE"]
    assert "trial 1: failed, its process died 3 times" in capsys.readouterr().out


def test_trials_can_be_added_but_settings_cannot_change(folder, table, capsys):
    path = table()
    args = ["--data", "TabularDataModule", f"--data.path={path}", "--data.target=y", "--trainer.max_epochs=2"]
    sweep(*RATE, *args, trials=2)
    before = facts(S)
    for changed, message in [
        (
            ["--search.optimizer.lr", "log(1e-3, 2)", *args],
            r"--search.optimizer.lr: .*log\(1e-3, 1\), got log\(1e-3, 2\)",
        ),
        ([*RATE, "--search.data.batch_size", "int(4, 8)", *args], "--search.data.batch_size: .* started with no value"),
        ([*RATE, *args, "--data.batch_size", "4"], "--data.batch_size: s was started with 32, got 4"),
    ]:
        with pytest.raises(UserError, match=message):
            sweep(*changed, trials=4)
    with pytest.raises(UserError, match="--seed: s was started with 0, got 1"):
        sweep(seed=1)
    sweep(trials=4)
    assert facts(S)[:2] == before
    assert len(facts(S)) == 4
    path.unlink()
    with pytest.raises(UserError, match="no such file"):  # and no trial fails for it
        sweep(trials=6)
    assert len(facts(S)) == 4


def test_a_stored_study_cannot_grant_trust(folder, capsys):
    (folder / "mine.py").write_text("from project.nets import MLP\nclass Own(MLP): ...\n")
    args = [*RATE, *SMALL, "--model.net=mine.Own"]
    sweep(*args, trust=["--trust=mine"], trials=1)
    assert "--config s/best.yaml --trust=mine" in capsys.readouterr().out
    with pytest.raises(UserError, match="pass --trust mine to allow it"):
        sweep(trials=2)
    sweep(trust=["--trust=mine"], trials=2)
    with sqlite3.connect(S / "study.db") as database:
        [[stored]] = database.execute("select value_json from study_user_attributes where key = 'settings'").fetchall()
        forged = json.loads(stored) | {"args": [*SMALL, "--model.net=mine.Own", "--trust=mine"]}
        query = "update study_user_attributes set value_json = ? where key = 'settings'"
        database.execute(query, [json.dumps(forged)])
    with pytest.raises(UserError, match="--trust: a stored study cannot grant trust"):
        sweep(trials=3)
    assert len(facts(S)) == 2


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


def test_child_processes_end_with_their_parent_and_a_resumed_sweep_runs_the_requested_number_of_trials(folder):
    killed_midway(folder, 3, 1)


@pytest.mark.slow
def test_twenty_trials_in_two_processes_with_one_killed(folder):
    killed_midway(folder, 20, 8)


def test_help_shows_ranges_and_imports_no_heavy_library(folder):
    done = run_script(folder, "sweep", "--help")
    assert '--search.optimizer.lr "log(1e-4, 1)"' in done.stdout
    assert imported(folder, REPOSITORY / "scripts/sweep.py", "--help") == set()
