"""The exact answer is that of the numbers in the file: NIST's data sets through the command line."""

import csv
import math
from fractions import Fraction
from pathlib import Path

import numpy as np
import pyarrow.csv
import pyarrow.parquet
import pytest
import torch

from project.data import SeriesDataModule, TabularDataModule
from project.training.train import train
from tests.data.nist import Table, tables

TABLES = tables()
DIGITS = {"filip": 7.0, **dict.fromkeys((f"wampler{n}" for n in range(1, 6)), 12.0)}


def write(name: str, rows: Table) -> list[str]:
    """Write a table, and return the arguments to train on all of its rows."""
    header = ",".join(["y", *(f"x{n}" for n in range(1, len(rows[0])))])
    Path(f"{name}.csv").write_text("\n".join([header, *map(",".join, rows)]) + "\n")
    paths = [word for flag in ("path", "val_path", "test_path") for word in (f"--data.{flag}", f"{name}.csv")]
    return ["--data", "TabularDataModule", "--data.target", "y", *paths]


def exact_solution(rows: Table) -> dict[str, Fraction]:
    """Coefficients for the decimal numbers of the text, by Gaussian elimination in rational arithmetic."""
    numbers = [[*map(Fraction, row[1:]), Fraction(1), Fraction(row[0])] for row in rows]
    size = len(rows[0])
    equations = [[sum(row[i] * row[j] for row in numbers) for j in range(size + 1)] for i in range(size)]
    for i, pivot in enumerate(equations):
        for k in range(size):
            if k != i:
                factor = equations[k][i] / pivot[i]
                equations[k] = [a - factor * b for a, b in zip(equations[k], pivot, strict=True)]
    names = [*(f"x{n}" for n in range(1, size)), "bias"]
    return {name: row[-1] / row[i] for i, (name, row) in enumerate(zip(names, equations, strict=True))}


def digits(found: float, expected: Fraction) -> float:
    error = abs(Fraction(found) - expected) / (abs(expected) or 1)
    return -math.log10(error) if error else 16.0


def coefficients(folder: Path) -> dict[str, float]:
    with (folder / "lightning_logs" / "version_0" / "coefficients.csv").open() as file:
        return {line["name"]: float(line["coefficient"]) for line in csv.DictReader(file)}


@pytest.mark.parametrize("name", list(TABLES))
def test_coefficients_are_those_of_the_decimal_numbers_in_the_file(folder, name):
    train([*write(name, TABLES[name]), "--model", "LinearRegression"])
    found, expected = coefficients(folder), exact_solution(TABLES[name])
    assert found.keys() == expected.keys()
    assert min(digits(found[name], expected[name]) for name in found) > DIGITS.get(name, 12.0)


@pytest.mark.parametrize("name", ["longley", "filip"])
def test_streamed_rows_give_the_same_coefficients(folder, name):
    train([*write(name, TABLES[name]), "--model", "LinearRegression", "--data.stream", "true"])
    found, expected = coefficients(folder), exact_solution(TABLES[name])
    assert min(digits(found[name], expected[name]) for name in found) > DIGITS.get(name, 12.0)


def far_table(folder: Path, suffix: str) -> tuple[np.ndarray, np.ndarray]:
    """Write 3,000 rows with a target of 1e8 + 1e4 a, noise of 1, and gaps in b."""
    random = np.random.default_rng(0)
    a, b, noise = random.standard_normal((3, 3_000))
    b[::10] = np.nan
    y = 1e8 + 1e4 * a + noise
    table = pyarrow.table({"a": a + 1e4, "b": pyarrow.array(b, from_pandas=True), "y": y})
    (pyarrow.parquet.write_table if suffix == "parquet" else pyarrow.csv.write_csv)(table, folder / f"far.{suffix}")
    return np.column_stack([a + 1e4, b]), y


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_gaps_are_filled_and_offsets_kept_at_full_precision(folder, stream, suffix):
    x, y = far_table(folder, suffix)
    path = f"far.{suffix}"
    fit = TabularDataModule(path, "y", val_path=path, test_path=path, missing="mean", stream=stream).least_squares
    x[:, 1] = np.where(np.isnan(x[:, 1]), np.nanmean(x[:, 1]), x[:, 1])
    design = np.column_stack([np.ones(len(x)), x - x.mean(0)])
    solution, *_ = np.linalg.lstsq(design, y - 1e8)
    np.testing.assert_allclose(fit.weights[:, 0].numpy(), solution[1:], rtol=1e-8)
    residuals = y - 1e8 - design @ solution
    assert fit.residual_std.item() == pytest.approx(math.sqrt((residuals**2).sum() / (len(x) - 3)), rel=1e-6)
    assert fit.residual_std.item() == pytest.approx(1, abs=0.05)


def test_many_streamed_columns_are_solved_at_full_precision(folder, monkeypatch):
    far_table(folder, "csv")
    arguments = {"val_path": "far.csv", "test_path": "far.csv", "features": ["a"], "stream": True}
    in_one_pass = TabularDataModule("far.csv", "y", **arguments)
    assert in_one_pass.least_squares is in_one_pass.summary.fit
    monkeypatch.setattr("project.data.streaming.MAX_SOLVED", 0)
    read_again = TabularDataModule("far.csv", "y", **arguments)
    assert read_again.least_squares.weights.equal(in_one_pass.least_squares.weights)
    assert read_again.summary.fit is None


def test_windows_of_a_series_are_solved_at_full_precision(folder):
    series = 1e5 + np.cumsum(np.random.default_rng(0).standard_normal(500))
    Path("series.csv").write_text("y\n" + "\n".join(map(repr, series.tolist())) + "\n")
    data = SeriesDataModule("series.csv", window=3)
    train = series[:350]
    design = np.column_stack([np.ones(347), *(train[lag : lag + 347] - 1e5 for lag in range(3))])
    expected = np.linalg.lstsq(design, train[3:] - 1e5)[0]
    np.testing.assert_allclose(data.least_squares.weights[:, 0].numpy(), expected[1:], rtol=1e-7)
    assert data.splits.train.x.dtype == torch.float32
    assert data.splits.train.x.untyped_storage().nbytes() <= 350 * 4
