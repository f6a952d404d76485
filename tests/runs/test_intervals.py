"""Prediction intervals are those of split conformal prediction, and hold as often as they say."""

import csv
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from project.exporting.export import export
from project.inference.predict import predict
from project.runs.intervals import half_width, half_widths, read_intervals
from project.runtime.errors import UserError
from project.training.train import train


@given(st.integers(1, 3_000), st.integers(1, 99))
def test_half_the_width_is_the_residual_of_the_right_rank(rows, step):
    residuals = torch.randperm(rows).double()[:, None]
    rank = math.ceil((rows + 1) * step / 100)
    widths = half_widths(residuals)
    if rank > rows:
        assert len(widths[0]) < step
    else:
        assert half_width(widths, step / 100) == [rank - 1]


@pytest.mark.parametrize("level", [0.5, 0.8, 0.9])
def test_on_average_over_splits_the_share_of_new_rows_is_the_level(level):
    draw = np.random.default_rng(0)
    shares = []
    for _ in range(400):
        calibration, new = np.abs(draw.standard_t(3, size=(2, 99)))
        [width] = half_width(half_widths(torch.from_numpy(calibration[:, None])), level)
        shares.append((new <= width).mean())
    assert np.mean(shares) == pytest.approx(level, abs=0.01)  # with 99 rows it is the level exactly


def test_a_run_and_its_file_write_the_same_intervals(folder):
    x, noise = np.random.default_rng(0).normal(size=(2, 300))
    lines = [f"{a},{2 * a + e},{a - e}" for a, e in zip(x, noise, strict=True)]
    Path("t.csv").write_text("\n".join(["x,y1,y2", *lines]) + "\n")
    data = ["--data", "TabularDataModule", "--data.path", "t.csv", "--data.target", "[y1, y2]"]
    train([*data, "--trainer.max_epochs", "3"])
    tables = []
    for reference in ("last", str(export("last")[0])):
        predict(reference, Path("t.csv"), Path("out.csv"), interval=0.8)
        with Path("out.csv").open() as file:
            tables.append([{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)])
    for row, other in zip(*tables, strict=True):
        assert row == pytest.approx(other, rel=1e-5)
        for target, width in zip(
            ("y1", "y2"), half_width(read_intervals(Path("lightning_logs/version_0")), 0.8), strict=True
        ):
            assert row[f"{target}_upper"] - row[f"{target}_predicted"] == pytest.approx(width, rel=1e-4)
            assert row[f"{target}_predicted"] - row[f"{target}_lower"] == pytest.approx(width, rel=1e-4)


@pytest.mark.parametrize(
    ("level", "problem"), [(0.999, "use at most 0.98"), (90, "between 0 and 1"), (0, "between 0 and 1")]
)
def test_a_level_that_cannot_be_had_is_one_line(level, problem):
    with pytest.raises(UserError, match=problem):
        half_width(half_widths(torch.rand(98, 1)), level)


def test_classes_have_no_intervals(folder):
    train(["--model", "Classification", "--data", "DigitsDataModule", "--trainer.max_epochs", "1"])
    Path("rows.csv").write_text("a\n1\n")
    with pytest.raises(UserError, match="--interval: last has no intervals"):
        predict("last", Path("rows.csv"), Path("out.csv"), interval=0.9)
    assert not Path("out.csv").exists()


@pytest.mark.parametrize("text", ["{bad", '[[1, "a"]]', "7"])
def test_a_damaged_file_is_one_line(folder, text):
    (folder / "intervals.json").write_text(text)
    with pytest.raises(UserError, match=r"intervals.json: damaged"):
        read_intervals(folder)
