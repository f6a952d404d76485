"""Flags of a sweep: ranges are read, and mistakes are reported before any trial."""

from pathlib import Path

import pytest

from project.runtime.errors import UserError
from project.sweep.ranges import as_args, read_range
from project.training.train import train
from tests.command import REPOSITORY, run_script
from tests.scripts.sweeps import RATE, S, sweep
from tests.scripts.test_imports import imported


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


@pytest.mark.slow
def test_a_folder_with_other_contents_is_left_unchanged(folder, capsys):
    train(["--trainer.max_epochs", "1"])
    run = Path("lightning_logs/version_0")
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    with pytest.raises(UserError, match="version_0: the folder contains something other than a sweep"):
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


def test_help_shows_ranges_and_imports_no_heavy_library(folder):
    done = run_script(folder, "sweep", "--help")
    assert '--search.optimizer.lr "log(1e-4, 1)"' in done.stdout
    assert imported(folder, REPOSITORY / "scripts/sweep.py", "--help") == set()
