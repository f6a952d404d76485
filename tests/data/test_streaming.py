"""Tables larger than memory."""

import subprocess
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
import torch
from lightning.pytorch import Trainer
from sklearn.linear_model import LinearRegression

from project.data import TabularDataModule
from project.data.streaming import MemmapWriter
from project.data.table import column_names
from project.models import Regression
from project.runtime.errors import UserError
from project.schema import Schema
from tests.command import MAX_LENGTH, REPOSITORY, run_script

QUIET = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "enable_model_summary": False}


@pytest.fixture
def parquet(folder):
    """A folder of Parquet files, y = x0 + x1 + x2 + 2 + noise, sorted by y, with the row's number as x2."""

    def write(rows=5_000, files=3, groups=500, name="rows"):
        generator = np.random.default_rng(0)
        x = generator.standard_normal((rows, 2)).astype(np.float32)
        x = np.column_stack([x[x.sum(1).argsort()], np.arange(rows, dtype=np.float32)])
        y = x.sum(1) + 2 + generator.standard_normal(rows).astype(np.float32)
        (folder / name).mkdir()
        for number, part in enumerate(np.array_split(np.column_stack([x, y]), files)):
            table = pa.table({column: part[:, i] for i, column in enumerate(["x0", "x1", "x2", "y"])})
            pyarrow.parquet.write_table(table, folder / name / f"{number}.parquet", row_group_size=groups)
        return str(folder / name), x, y

    return write


def test_every_row_is_in_one_split_unchanged(parquet):
    path, x, y = parquet()
    data = TabularDataModule(path, "y", stream=True)
    taken = torch.cat([rows.x for rows in data.splits]), torch.cat([rows.y for rows in data.splits])
    order = taken[0][:, 2].argsort()
    assert taken[0][order].equal(torch.tensor(x))
    assert taken[1][order].equal(torch.tensor(y)[:, None])
    assert [len(rows) / len(x) for rows in data.splits] == pytest.approx([0.7, 0.1, 0.2], abs=0.03)


def test_one_pass_gives_the_statistics_and_the_exact_answer(parquet):
    path, *_ = parquet()
    data = TabularDataModule(path, "y", stream=True)
    x, y = data.splits.train.x.double().numpy(), data.splits.train.y.double().numpy()
    np.testing.assert_allclose(data.feature_statistics.mean, x.mean(0), rtol=1e-9)
    np.testing.assert_allclose(data.target_statistics.std, y.std(0), rtol=1e-9)
    peer = LinearRegression().fit(x, y)
    np.testing.assert_allclose(data.least_squares.weights.T, peer.coef_, rtol=1e-6)
    assert data.summary.fit is data.least_squares


def test_the_same_seed_draws_the_same_splits(parquet):
    path, *_ = parquet(rows=1_000)
    first, again, other = (TabularDataModule(path, "y", stream=True, seed=seed) for seed in (0, 0, 1))
    assert first.splits.train.x.equal(again.splits.train.x)
    assert len(first.splits.train) != len(other.splits.train)


@pytest.mark.parametrize("name", ["table.csv", "file"])
def test_csv_files_and_addresses_stream_like_folders(table, folder, name):
    path = str(table(rows=300)) if name == "table.csv" else f"file://{table(rows=300)}"
    data = TabularDataModule(path, "y", stream=True)
    taken = torch.cat([torch.cat([rows.x, rows.y], dim=1) for rows in data.splits])
    expected = TabularDataModule(path, "y")
    all_rows = torch.cat([torch.cat([rows.x, rows.y], dim=1) for rows in expected.splits])
    assert taken[taken[:, 0].argsort()].equal(all_rows[all_rows[:, 0].argsort()])


def test_an_unknown_file_system_is_an_error():
    with pytest.raises(UserError, match="nowhere://folder/table.csv: .*nowhere"):
        column_names("nowhere://folder/table.csv")


def test_gaps_are_dropped_or_filled_with_the_training_mean(table):
    path = table(rows=300, **{"7_5_12": "7,,12"})
    with pytest.raises(UserError, match=r"missing values \(b 1\), the first in row 8; set --data.missing fill"):
        _ = TabularDataModule(str(path), "y", stream=True, missing="error").splits
    dropped = TabularDataModule(str(path), "y", stream=True, missing="drop")
    assert Schema.from_list(dropped.fields).names == ["a", "b"]
    assert sum(map(len, dropped.splits)) == 299
    filled = TabularDataModule(str(path), "y", stream=True, missing="mean")
    rows = torch.cat([torch.cat([rows.x, rows.y], dim=1) for rows in filled.splits])
    [value] = rows[rows[:, 0] == 7, 1].tolist()
    train = filled.splits.train.x
    known = train[train[:, 0] != 7, 1].double().mean().item()
    assert value == pytest.approx(known)
    assert filled.feature_statistics.mean[1].item() == pytest.approx(train[:, 1].double().mean().item())


def test_a_column_or_a_split_without_values_is_an_error(folder):
    (folder / "gap.csv").write_text("a,b,y\n" + "\n".join(f"{i},,{i}" for i in range(50)))
    with pytest.raises(UserError, match="gap.csv: column 'b' has no values; leave it out with --data.exclude"):
        _ = TabularDataModule("gap.csv", "y", stream=True, missing="mean").splits
    (folder / "tiny.csv").write_text("a,y\n1,2\n2,3\n")
    with pytest.raises(
        UserError, match="tiny.csv: no rows in the .* split, of 2 rows in all; add rows or change --data.val_fraction"
    ):
        _ = TabularDataModule("tiny.csv", "y", stream=True).splits


def test_classes_stream(folder):
    lines = [f"{i},{'cat' if i % 3 else ' dog'}" for i in range(300)]
    (folder / "pets.csv").write_text("\n".join(["weight,species", *lines]))
    data = TabularDataModule("pets.csv", "species", task="classification", stream=True)
    assert data.class_names == ["cat", "dog"]
    for rows in data.splits:
        assert rows.y.equal((rows.x[:, 0] % 3 == 0).long())


@pytest.mark.slow
def test_rows_sorted_by_their_target_are_learned(parquet):
    path, *_ = parquet(rows=400_000, files=2, groups=50_000)
    data = TabularDataModule(path, "y", features=["x0", "x1"], stream=True, batch_size=1_024)
    model = Regression(data.in_shape, 1)
    model.configure_optimizers = lambda: torch.optim.SGD(model.parameters(), lr=0.05)
    Trainer(max_epochs=2, **QUIET).fit(model, data)
    assert data.least_squares.mse_of(*model.equation) / data.least_squares.mse - 1 < 1e-3


LIMITED = """
import resource, sys, torch
from lightning.pytorch import Trainer
from project.schema import Schema
from project.data import SyntheticDataModule, TabularDataModule
from project.runtime.errors import exit_on_user_error
from project.models import Regression

def fit(data):
    model = Regression(data.in_shape, 1)
    model.configure_optimizers = lambda: torch.optim.SGD(model.parameters(), lr=0.05)
    Trainer(max_epochs=1, logger=False, enable_checkpointing=False, enable_progress_bar=False).fit(model, data)
    return data

fit(SyntheticDataModule(rows=100_000, features=16, batch_size=4_096))  # the libraries have allocated their memory
status = dict(line.split(":") for line in open("/proc/self/status"))
limit = int(status["VmData"].split()[0]) * 1024 + int(sys.argv[1])
resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
with exit_on_user_error():
    data = fit(TabularDataModule("rows", "y", stream=sys.argv[2] == "True", batch_size=4_096))
    print("size", sum(rows.x.nbytes + rows.y.nbytes for rows in data.splits))
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the limit works on Linux only")
def test_rows_beyond_the_memory_limit_stream_and_do_not_fit(folder):
    (folder / "rows").mkdir()
    columns = {f"x{i}": np.random.default_rng(i).standard_normal(200_000).astype(np.float32) for i in range(16)}
    for number in range(10):
        table = pa.table({**columns, "y": columns["x0"] + number})
        pyarrow.parquet.write_table(table, folder / "rows" / f"{number}.parquet", row_group_size=20_000)
    limit = 80 * 2**20
    streamed, whole = (
        subprocess.run(
            [sys.executable, "-c", LIMITED, str(limit), str(stream)],
            env={"PYTHONPATH": str(REPOSITORY), "PATH": "/usr/bin", "OMP_NUM_THREADS": "1"},
            cwd=folder, capture_output=True, text=True, timeout=MAX_LENGTH,
        )
        for stream in (True, False)
    )  # fmt: skip
    assert streamed.returncode == 0, streamed.stderr
    assert int(streamed.stdout.split()[-1]) > 1.5 * limit
    assert whole.returncode == 2
    assert "rows: its rows do not fit into memory; set --data.stream true" in whole.stderr


def test_a_streamed_run_is_evaluated_as_it_was_trained(table, folder):
    args = [
        "--data",
        "TabularDataModule",
        "--data.path",
        table(rows=300),
        "--data.target",
        "y",
        "--data.stream",
        "true",
    ]
    trained = run_script(folder, "train", *args, "--trainer.max_epochs", "2")
    assert trained.returncode == 0, trained.stderr
    evaluated = run_script(folder, "evaluate", "last")
    line = next(line for line in trained.stdout.splitlines() if "test/mse" in line).split("│")[2].strip()
    assert line in evaluated.stdout


def test_a_full_disk_under_the_temporary_files_is_one_line(monkeypatch):
    def full(**options):
        return open("/dev/full", "wb", **options)  # noqa: PTH123

    monkeypatch.setattr("tempfile.NamedTemporaryFile", full)
    small, large = MemmapWriter(), MemmapWriter()
    small.append(torch.ones(3, 2), torch.ones(3, 1))
    with pytest.raises(UserError, match="No space left on device; set TMPDIR to a folder with room"):
        small.rows()  # what was written is still in the buffer
    with pytest.raises(UserError, match="No space left on device; set TMPDIR to a folder with room"):
        large.append(torch.ones(1_000_000, 2), torch.ones(1_000_000, 1))
