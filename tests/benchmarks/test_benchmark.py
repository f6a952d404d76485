import itertools
import json

import pytest
from benchmarks import contestants, suite
from benchmarks.report import draw, machine, show, write_json
from benchmarks.suite import OURS, PLAIN, Figure

from tests.command import run_script


def test_every_contestant_trains_an_epoch_and_is_set_against_the_plain_loop(folder):
    figures = list(suite.epochs("epoch", rows=2_000, features=3, batch=100))
    by_name = {figure.name: figure for figure in figures}
    assert len(by_name) == 6
    assert by_name[PLAIN].ratio == 1
    for figure in figures:
        assert figure.value > 0
        assert figure.ratio == pytest.approx(figure.value / by_name[PLAIN].value)


def test_our_own_epochs_have_everything_switched_on(folder):
    cli = contestants.experiment(1_000, 2, 100, "--trainer.max_epochs", "3")
    seconds = contestants.project_epochs(cli)
    assert len(seconds) == 3
    run = cli.run_folder.path
    assert (run / "checkpoints" / "best.ckpt").exists()
    assert list(run.glob("events.*"))
    assert cli.trainer.progress_bar_callback is not None
    assert cli.trainer.global_step == 30


def test_a_way_that_is_measured_in_part_is_reported_as_a_whole(monkeypatch):
    steps = []
    monkeypatch.setattr(contestants, "_step", lambda *_: steps.append(1))
    clock = itertools.count(step=2)
    monkeypatch.setattr(contestants.time, "perf_counter", lambda: next(clock))
    x, y = suite.train_rows(contestants.experiment(4_000, 2, 100))
    assert contestants.plain_data_loader(x, y, 100) == 40 * 2
    assert len(steps) == contestants.MAX_BATCHES


def test_a_training_that_misses_the_exact_mse_has_no_time(monkeypatch):
    monkeypatch.setattr(suite, "MAX_EXCESS", -1.0)
    assert all(figure.value != figure.value for figure in suite.time_to_exact(2_000, 2))


def test_peak_memory_counts_the_rows():
    figure = suite.peak_memory(400_000, 64)
    assert 0.5 < figure.ratio < 4


def test_figures_come_as_table_json_and_picture(folder, capsys):
    figures = [Figure("epoch", PLAIN, 0.5, 1.0, PLAIN), Figure("epoch", OURS, 1.0, 2.0, PLAIN)]
    assert show(iter(figures)) == figures
    assert "hello-lightning" in capsys.readouterr().out
    write_json(figures, folder / "figures.json")
    saved = json.loads((folder / "figures.json").read_text())
    assert saved["machine"] == machine()
    assert [Figure(**figure) for figure in saved["figures"]] == figures
    draw(figures, folder / "figures.png")
    assert (folder / "figures.png").read_bytes().startswith(b"\x89PNG")


def test_the_command_says_what_it_takes(folder):
    assert "--quick" in run_script(folder, "benchmark", "--help").stdout
