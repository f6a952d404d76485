import itertools
import json
import math
from functools import partial

import pytest
import torch
from benchmarks import contestants, gpu, processes, suite
from benchmarks.report import draw, machine, show, write_json
from benchmarks.suite import OURS, PLAIN, Measurement

from project.runtime.errors import UserError
from tests.command import run_script


@pytest.mark.slow
def test_every_contestant_trains_an_epoch_and_is_compared_with_the_plain_loop(folder):
    measurements = list(suite.epochs("epoch", rows=2_000, features=3, batch=100))
    by_name = {measurement.name: measurement for measurement in measurements}
    assert len(by_name) == 6
    assert by_name[PLAIN].ratio == 1
    for measurement in measurements:
        assert measurement.value > 0
        assert measurement.ratio == pytest.approx(measurement.value / by_name[PLAIN].value)


def test_epochs_of_this_project_include_everything_that_a_default_run_does(folder):
    cli = contestants.experiment(1_000, 2, 100, "--trainer.max_epochs", "3")
    seconds = contestants.project_epochs(cli)
    assert len(seconds) == 3
    run = cli.experiment.run_folder.path
    assert (run / "checkpoints" / "best.ckpt").exists()
    assert list(run.glob("events.*"))
    assert cli.trainer.progress_bar_callback is not None
    assert cli.trainer.global_step == 30


def test_the_epoch_of_a_slow_contestant_is_extrapolated_from_a_few_batches(monkeypatch):
    steps = []
    monkeypatch.setattr(contestants, "_step", lambda *_: steps.append(1))
    clock = itertools.count(step=2)
    monkeypatch.setattr(contestants.time, "perf_counter", lambda: next(clock))
    x, y = suite.train_rows(contestants.experiment(4_000, 2, 100))
    assert contestants.plain_data_loader(x, y, 100) == 40 * 2
    assert len(steps) == contestants.MAX_BATCHES


def test_a_training_that_misses_the_exact_mse_has_no_time(monkeypatch):
    monkeypatch.setattr(suite, "MAX_EXCESS", -1.0)
    assert all(math.isnan(measurement.value) for measurement in suite.time_to_exact(2_000, 2))


@pytest.mark.slow
@pytest.mark.parametrize("way", ["ours", "plain"])
def test_an_epoch_of_several_processes_is_timed(way):
    assert 0 < processes.epoch_of(2, way, rows=400, features=2, batch=10) < math.inf


@pytest.mark.slow
def test_a_process_that_fails_is_no_measurement():
    with pytest.raises(RuntimeError, match="a process of .* ours 1 2 10 failed"):
        processes.epoch_of(2, "ours", rows=1, features=2, batch=10)


@pytest.mark.slow
def test_peak_memory_counts_the_rows():
    assert 0.5 < suite.peak_memory(400_000, 64).ratio < 4


def test_measurements_are_shown_as_table_json_and_figure(folder, capsys):
    measurements = [Measurement("epoch", PLAIN, 0.5, 1.0, PLAIN), Measurement("epoch", OURS, 1.0, 2.0, PLAIN)]
    assert show(iter(measurements)) == measurements
    assert "hello-lightning" in capsys.readouterr().out
    write_json(measurements, folder / "figures.json")
    saved = json.loads((folder / "figures.json").read_text())
    assert saved["machine"] == machine()
    assert [Measurement(**measurement) for measurement in saved["figures"]] == measurements
    draw(measurements, folder / "figures.png")
    assert (folder / "figures.png").read_bytes().startswith(b"\x89PNG")


def test_the_benchmark_of_a_gpu_trains_with_every_contestant_on_the_cpu(folder):
    build = partial(gpu.build_on, "cpu", 200, 2, 50)
    measurements = list(gpu.against_plain_loop("epoch", build, "cpu"))
    by_name = {measurement.name: measurement for measurement in measurements}
    assert by_name.keys() == {PLAIN, OURS, gpu.STOCK, "plain loop, shuffled on the device"}
    assert by_name[PLAIN].ratio == 1
    assert all(measurement.value > 0 for measurement in measurements)


def test_without_a_gpu_its_benchmark_says_so(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UserError, match="--device cuda: there is no GPU here; use --device cpu"):
        next(gpu.gpu(quick=True, device="cuda"))


def test_help_lists_the_flags(folder):
    assert "--quick" in run_script(folder, "benchmark", "--help").stdout
