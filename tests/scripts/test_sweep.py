"""Trials of sweeps; the values of each are compared with its run."""

import json
import re
import sqlite3
import statistics
from pathlib import Path
from types import SimpleNamespace

import optuna
import pytest
import yaml
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from project.inference.evaluate import evaluate
from project.runtime.errors import UserError, is_machine_error
from project.stages.base import parse
from project.sweep.experiment import without_defaults
from project.sweep.study import open_storage, open_study
from project.training.train import train
from tests.command import REPOSITORY, run_script
from tests.scripts.sweeps import RATE, SMALL, S, facts, sweep
from tests.scripts.test_tensorboard import read_scalars


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


@pytest.mark.slow
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
    listed = 9 * text.count("callbacks.")  # every argument of a callback
    assert len(text.splitlines()) <= len(experiment.read_text().splitlines()) + 3 + listed


@pytest.mark.slow
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


@pytest.mark.slow
def test_the_penalty_of_ridge_regression_is_searched(folder, capsys):
    sweep("--model=LinearRegression", "--search.model.alpha=log(1e-3, 1e3)", "--data.rows=60")
    assert all(trial.state.name == "COMPLETE" for trial in open_study(S).trials)


@pytest.mark.slow
def test_equal_seeds_repeat_a_sweep_and_other_seeds_do_not(folder, capsys):
    for name, seed in [("a", 0), ("b", 0), ("c", 1)]:
        sweep(*RATE, *SMALL, folder=folder / name, seed=seed, trials=2)
    assert facts(folder / "a") == facts(folder / "b")
    assert [trial[3] for trial in facts(folder / "a")] != [trial[3] for trial in facts(folder / "c")]


@pytest.mark.slow
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


@pytest.mark.slow
def test_the_reason_is_reported_if_all_trials_fail(folder, capsys):
    with pytest.raises(
        UserError, match="no trial is complete; trial 1: failed, --optimizer.lr .*: training diverges, the loss is"
    ):
        sweep("--search.optimizer.lr", "uniform(1e6, 1e7)", *SMALL, trials=2)
    assert not (S / "best.yaml").exists()


@pytest.mark.slow
def test_a_trial_whose_processes_keep_dying_fails(folder, capsys):
    sweep(*RATE, *SMALL, trials=1)
    study = open_study(S)
    lost = study.ask({"optimizer.lr": optuna.distributions.FloatDistribution(1e-3, 1, log=True)})
    lost.set_user_attr("starts", [0, 0, 0])
    sweep(trials=3)
    assert [trial[1] for trial in facts(S)] == ["COMPLETE", "FAIL", "COMPLETE"]
    assert "trial 1: failed, its process died 3 times" in capsys.readouterr().out


@pytest.mark.slow
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


@pytest.mark.slow
def test_a_full_disk_ends_a_sweep_and_fails_no_trial(folder, monkeypatch, capsys):
    with monkeypatch.context() as patch:
        patch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=0))
        for _ in range(4):  # more often than a trial may kill its process
            with pytest.raises(UserError, match="trial_0: 0.0 MiB are free") as error:
                sweep(*RATE, *SMALL, trials=1)
            assert is_machine_error(error.value)
    sweep(trials=1)
    assert [trial[:2] for trial in facts(S)] == [(0, "COMPLETE")]


def test_a_database_that_cannot_be_opened_is_a_problem_of_the_machine():
    with pytest.raises(OSError, match="unable to open database file: 'missing/study.db'") as error:
        open_storage(Path("missing"))
    assert is_machine_error(error.value)


@pytest.mark.slow
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
