from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from project.data import SeriesDataModule
from project.runtime.errors import UserError
from project.stages.base import parse


@pytest.fixture
def clock(folder):
    """A series whose values are their own time."""
    (folder / "clock.csv").write_text("t,square\n" + "".join(f"{i},{i * i}\n" for i in range(200)))
    return "clock.csv"


@settings(max_examples=20, deadline=None)
@given(window=st.integers(1, 6), horizon=st.integers(1, 4), lag=st.integers(1, 4))
def test_targets_follow_their_window_by_lag_within_their_split(window, horizon, lag):
    data = SeriesDataModule(rows=200, window=window, horizon=horizon, lag=lag)
    data._generate = lambda: torch.arange(200.0)[:, None]
    seen = []
    for rows in data.splits:
        last = rows.x[:, -1, 0]
        assert (rows.x[:, :, 0] - last[:, None]).equal(torch.arange(1.0 - window, 1).expand(len(rows), -1))
        assert (rows.y - last[:, None]).equal(torch.arange(lag, lag + horizon).float().expand(len(rows), -1))
        seen.append((rows.x.min().item(), rows.y.max().item()))
    assert all(end < start for (_, end), (start, _) in pairwise(seen)), "a split reaches into the next"


def test_every_window_that_fits_is_used():
    assert [len(rows) for rows in SeriesDataModule(rows=100, window=3, horizon=2).splits] == [66, 6, 16]


def test_columns_and_target_come_from_a_file_by_name(clock):
    data = SeriesDataModule(clock, target="square", columns=["t"], window=2, lag=3)
    x, y = data.splits.train.x, data.splits.train.y
    assert x.shape[1:] == (2, 1)
    assert y[:, 0].equal((x[:, -1, 0] + 3) ** 2)
    assert data.target_names == ["square+3"]
    assert data.input_names == ["t[t-1]", "t[t]"]


def test_generated_series_has_the_noise_asked_for():
    data = SeriesDataModule(noise=0.5, rows=50_000, window=2)
    assert data.least_squares.residual_std.item() == pytest.approx(0.5, rel=0.02)
    torch.testing.assert_close(data.least_squares.weights[:, 0], torch.tensor([-0.6, 1.2]).double(), atol=0.02, rtol=0)


def test_windows_are_views():
    x = SeriesDataModule(rows=10_000, window=100).splits.train.x
    assert x.untyped_storage().nbytes() < 2 * 10_000 * 4


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"rows": 40}, "the generated series: a split of 4 rows is too short for a window of 16 steps"),
        ({"val_fraction": 0.5, "test_fraction": 0.5}, "leave no training rows"),
        ({"path": "clock.csv", "target": "q"}, "clock.csv: no column 'q' \\(--data.target\\)"),
        ({"path": "clock.csv", "columns": ["t", "t"]}, "column 't' is named twice \\(--data.columns\\)"),
        ({"path": "clock.csv", "columns": []}, "no column is selected \\(--data.columns\\)"),
        ({"path": "none.csv"}, "none.csv: no such file"),
    ],
)
def test_a_mistake_is_named(clock, arguments, message):
    with pytest.raises(UserError, match=message):
        _ = SeriesDataModule(**arguments).splits


@pytest.mark.parametrize("name", ["window", "horizon", "lag", "rows"])
def test_numbers_below_one_are_named(name):
    with pytest.raises(UserError, match=f"--data.{name}: must be an integer, 1 or more, got 0"):
        parse(["--data", "SeriesDataModule", f"--data.{name}", "0"])


def test_a_series_finer_than_float32_is_an_error_and_not_a_constant(folder):
    (folder / "s.csv").write_text("y\n" + "".join(f"{1.7e9 + i % 5}\n" for i in range(100)))
    with pytest.raises(UserError, match="column 'y' varies less than float32 resolves"):
        _ = SeriesDataModule("s.csv", window=2).splits


def test_text_in_a_series_is_named_with_a_hint(folder):
    (folder / "s.csv").write_text("date,y\n" + "".join(f"2026-01-{i:02d},{i}\n" for i in range(1, 30)))
    with pytest.raises(UserError, match="column 'date'.*--data.columns"):
        _ = SeriesDataModule("s.csv", window=2).splits


def test_a_gap_in_a_series_is_named(folder):
    (folder / "s.csv").write_text("y\n" + "1\n" * 30 + "NA\n" + "1\n" * 30)
    with pytest.raises(UserError, match="s.csv: column 'y', row 31: missing value; fill the gaps"):
        _ = SeriesDataModule("s.csv", window=2).splits
