"""Tables whose columns are not all numbers, from the file to the number."""

import csv
import json
import random
import tempfile
from functools import cache
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest
import torch

from project.data import TabularDataModule
from project.exporting.export import export
from project.inference.evaluate import evaluate
from project.inference.predict import predict
from project.inference.run import load
from project.nets.one_hot import OneHot
from project.pipeline.server_check import check_server
from project.runtime.errors import UserError
from project.serving.artifact import Artifact
from project.serving.json_rows import JSONRows
from project.serving.limits import LIMITS
from project.serving.memory import MemoryBudget
from project.serving.model import CSV, JSON, PARQUET, Model
from project.serving.request_error import RequestError
from project.stages.ensemble import combine
from project.training.train import train
from tests.trained import FOLDERS, trained

SPECIES = {"Adelie": 0.0, "Chinstrap": -3.0, "Gentoo": 5.0}
QUICK = ["--trainer.max_epochs", "1", "--epoch_line.every_n_epochs", "0"]


def write_table(path, rows=200, seed=0, species=tuple(SPECIES), gaps=0.05):
    """Rows of every kind, of which the target is a sum of effects and noise."""
    draw, written = random.Random(seed), []
    for row in range(rows):
        kind, size, smokes = draw.choice(species), round(draw.gauss(40, 5), 2), draw.choice(["yes", "no"])
        target = 2 * size + SPECIES.get(kind, 1.0) + 4 * (smokes == "yes") + draw.gauss(0, 1)
        cells = [kind, size, smokes, f"20{row % 20 + 10}-{row % 12 + 1:02d}-03"]
        written.append([cell if draw.random() > gaps else "" for cell in cells] + [round(target, 3)])
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([["species", "size", "smokes", "day", "y"], *written])
    return path


def table_args(path, *others):
    return ["--data", "TabularDataModule", f"--data.path={path}", "--data.target", "y", *others]


@cache
def common_table():
    return write_table(Path(tempfile.mkdtemp(dir=FOLDERS.name)) / "t.csv")


@cache
def exported(net="MLP"):
    """The file of the run with a net, which is the same in every test."""
    return export("last", common_table().with_name(f"{net}.onnx"))[0]


@pytest.fixture
def run(request, folder, capsys):
    write_table(folder / "t.csv")
    trained([*table_args(common_table()), "--model.net", getattr(request, "param", "MLP"), *QUICK])
    return load("last")


@pytest.mark.parametrize("stream", [False, True])
def test_coefficients_of_categories_are_those_of_treatment_coding(folder, stream):
    path = write_table(folder / "t.csv", rows=500, gaps=0)
    data = TabularDataModule(str(path), "y", exclude=["day"], val_path=str(path), test_path=str(path), stream=stream)
    rows = list(csv.DictReader(path.open()))
    levels = ["Chinstrap", "Gentoo"]
    design = np.array(
        [
            [1.0, *(row["species"] == level for level in levels), float(row["size"]), row["smokes"] == "yes"]
            for row in rows
        ]
    )
    y = np.array([float(row["y"]) for row in rows])
    coefficients, [rss], *_ = np.linalg.lstsq(design, y, rcond=None)
    errors = np.sqrt(np.diag(np.linalg.inv(design.T @ design)) * rss / (len(y) - design.shape[1]))
    fit = data.least_squares
    assert data.input_names == ["species[Chinstrap]", "species[Gentoo]", "size", "smokes"]
    np.testing.assert_allclose(fit.weights[:, 0], coefficients[1:], rtol=1e-10)
    np.testing.assert_allclose(fit.bias[0], coefficients[0], rtol=1e-10)
    np.testing.assert_allclose(fit.standard_errors[:, 0], errors[1:], rtol=1e-9)


def test_statistics_are_those_of_the_columns_of_zeros_and_ones(folder):
    data = TabularDataModule(str(write_table(folder / "t.csv")), "y")
    wide = data.one_hot(data.splits.train.x.double())
    assert wide.shape[1] == len(data.input_names) == len(data.feature_statistics.mean)
    torch.testing.assert_close(data.feature_statistics.mean, wide.mean(0), rtol=1e-6, atol=1e-6)
    std = wide.std(0, correction=0)
    torch.testing.assert_close(data.feature_statistics.std, torch.where(std == 0, 1, std), rtol=1e-5, atol=1e-6)


def test_an_unknown_level_is_an_average_row():
    module = OneHot([3, 0])
    module.unknown = torch.tensor([0.2, 0.5, 9.0])
    expected = [[0.2, 0.5, 7.0], [0.0, 0.0, 7.0], [1.0, 0.0, 7.0], [0.0, 1.0, 0.0]]
    codes = torch.tensor([[0.0, 7.0], [1.0, 7.0], [2.0, 7.0], [3.0, 0.0]])
    assert module(codes).tolist() == torch.tensor(expected).tolist()


def test_a_stream_has_the_rows_of_a_table_in_memory(folder):
    paths = [str(write_table(folder / f"{name}.csv", seed=seed)) for seed, name in enumerate(("train", "val", "test"))]
    streamed, whole = (
        TabularDataModule(paths[0], "y", val_path=paths[1], test_path=paths[2], stream=stream)
        for stream in (True, False)
    )
    for one, other in zip(streamed.splits, whole.splits, strict=True):
        torch.testing.assert_close(one.x, other.x)
        assert one.y.equal(other.y)


def answers(artifact, rows):
    """Return the predictions of a server for the same rows in JSON, CSV and Parquet."""
    model = Model(artifact, LIMITS, MemoryBudget(2**28, 1.0))
    found = []
    for body, kind in [(json.dumps({"rows": rows}).encode(), JSON), (csv_of(rows), CSV), (parquet_of(rows), PARQUET)]:
        answer = model.answer(kind, bytearray(body))[1]
        if kind == JSON:
            found.append([row["y"] for row in json.loads(answer)["predictions"]])
        else:
            source = pa.BufferReader(answer)
            table = pyarrow.csv.read_csv(source) if kind == CSV else pyarrow.parquet.read_table(source)
            found.append(table["y_predicted"].to_pylist())
    return found


def csv_of(rows):
    pyarrow.csv.write_csv(pa.Table.from_pylist(rows), sink := pa.BufferOutputStream())
    return sink.getvalue().to_pybytes()


def parquet_of(rows):
    pyarrow.parquet.write_table(pa.Table.from_pylist(rows), sink := pa.BufferOutputStream())
    return sink.getvalue().to_pybytes()


NEW_ROWS = [
    {"species": "Gentoo", "size": 41.5, "smokes": True, "day": "2015-03-03", "note": "known"},
    {"species": "Emperor", "size": 39.0, "smokes": False, "day": "2030-01-01", "note": "unknown level"},
    {"species": None, "size": None, "smokes": None, "day": None, "note": "gaps"},
]


@pytest.mark.parametrize("run", [pytest.param("MLP", marks=pytest.mark.slow), "TableNet"], indirect=True)
def test_run_file_and_server_see_the_same_numbers_in_unknown_levels_gaps_and_any_order(run, folder):
    artifact = Artifact(exported(type(run.model.net.net).__name__))
    for rows in (NEW_ROWS, [dict(reversed(row.items())) for row in NEW_ROWS]):
        pa_rows = pa.Table.from_pylist(rows)
        pyarrow.csv.write_csv(pa_rows, folder / "new.csv")
        predict(str(artifact.path), folder / "new.csv", folder / "file.csv")
        predict("last", folder / "new.csv", folder / "run.csv")
        files = [pyarrow.csv.read_csv(folder / name)["y_predicted"].to_pylist() for name in ("file.csv", "run.csv")]
        for answer in answers(artifact, [{k: v for k, v in row.items() if k != "note"} for row in rows]):
            np.testing.assert_array_equal(np.float32(answer), np.float32(files[0]))
        named = {name: [row[name] for row in rows] for name in run.metadata["feature_names"]}
        np.testing.assert_array_equal(run.predict(named)[:, 0], np.float32(files[1]))
        np.testing.assert_allclose(files[0], files[1], rtol=1e-5)
        body = json.dumps({"rows": [{k: v for k, v in row.items() if k != "note"} for row in rows]}).encode()
        x, complete = JSONRows(artifact.metadata, 10).read(bytearray(body))
        assert complete is None
        np.testing.assert_array_equal(x, run._numbers(named))


@pytest.mark.parametrize(
    ("row", "field", "problem"),
    [
        ({"size": "wide"}, "size", "is not a number"),
        ({"smokes": "perhaps"}, "smokes", "neither true nor false"),
        ({"day": "yesterday"}, "day", "is not a date"),
        ({"species": [1]}, "species", "is not a text, number or boolean"),
        ({"colour": "red"}, "colour", "unknown feature"),
    ],
)
def test_a_server_names_row_and_field_of_a_wrong_value(run, row, field, problem):
    rows = JSONRows(Artifact(exported()).metadata, 10)
    body = json.dumps({"rows": [{"species": "Gentoo"}, row]}).encode()
    with pytest.raises(RequestError, match=problem) as caught:
        rows.read(bytearray(body))
    assert (caught.value.row, caught.value.field) == (2, field)


def test_other_tables_are_read_with_the_levels_and_means_of_training(run, folder, capsys):
    write_table(folder / "other.csv", rows=60, seed=9, species=("Gentoo", "Emperor"))
    with pytest.warns(
        UserWarning, match=r"other.csv: levels that did not occur in training, .*: species in \d+ of 60 rows"
    ):
        metrics, rows = evaluate("last", ["--data.test_path", "other.csv"])
    predict("last", folder / "other.csv", folder / "out.csv")
    table = pyarrow.csv.read_csv(folder / "out.csv")
    errors = np.array(table["y"].to_pylist()) - np.array(table["y_predicted"].to_pylist())
    assert rows == 60
    assert metrics["test/mse"] == pytest.approx(np.mean(errors**2), rel=1e-5)


def test_finetuning_keeps_the_meaning_of_codes(run, folder, capsys):
    write_table(folder / "other.csv", seed=9, species=("Gentoo", "Emperor"))
    train(
        [*table_args("other.csv"), "--model.net", "MLP", "--weights.path", str(run.path), "--trainer.max_epochs", "0"]
    )
    again = load("last")
    rows = {name: [row[name] for row in NEW_ROWS] for name in run.metadata["feature_names"]}
    assert again.metadata["fields"] == run.metadata["fields"]
    np.testing.assert_array_equal(again.predict(rows), run.predict(rows))


def test_text_or_booleans_as_a_target_are_classes(folder, capsys):
    write_table(folder / "t.csv")
    metrics = train(
        [*table_args("t.csv", "--data.target", "smokes"), "--model", "Classification", "--trainer.max_epochs", "30"]
    )
    told = capsys.readouterr().out
    assert "Classes of smokes: no, yes" in told
    assert "rows without a target" in told
    assert 0 < metrics["test/accuracy"] <= 1


def test_columns_that_only_name_the_rows_are_left_out(folder):
    (folder / "t.csv").write_text(",index,a,y\n" + "".join(f"r{n},{n},{n % 7},{n % 5}\n" for n in range(40)))
    data = TabularDataModule("t.csv", "y")
    assert (data.feature_names, data.left_out) == (["a"], ["", "index"])
    assert TabularDataModule("t.csv", "y", features=["index", "a"]).feature_names == ["index", "a"]


def test_free_text_is_named_with_the_flag_to_paste(folder):
    (folder / "t.csv").write_text("a,first name,note,y\n" + "".join(f"{n},n{n},x{n},{n}\n" for n in range(40)))
    with pytest.raises(UserError, match=r'leave them out with --data.exclude "\[first name, note\]"'):
        _ = TabularDataModule("t.csv", "y").splits
    assert TabularDataModule("t.csv", "y", exclude=["first name", "note"]).feature_names == ["a"]
    kinds = {"first name": "ignore", "note": "category"}
    data = TabularDataModule("t.csv", "y", kinds=kinds)
    assert data.levels == [0, 28]  # of the training rows


def test_integers_are_categories_by_flag_with_their_spelling(folder):
    (folder / "t.csv").write_text("zip,y\n" + "".join(f"0050{n % 3},{n}\n" for n in range(60)))
    assert TabularDataModule("t.csv", "y").levels is None
    data = TabularDataModule("t.csv", "y", kinds={"zip": "category"})
    assert data.input_names == ["zip[00501]", "zip[00502]"]


@pytest.mark.slow
def test_a_server_is_checked_with_values_and_not_with_codes(run, folder):
    found = check_server(exported(), [], run.path, [])
    assert found["rows_checked"] == 40


def test_runs_whose_codes_mean_other_levels_are_not_combined(run, folder, capsys):
    write_table(folder / "other.csv", species=("Emperor", "Gentoo", "Adelie"))
    train([*table_args("other.csv"), "--model.net", "MLP", *QUICK])
    runs = ["lightning_logs/version_0", "lightning_logs/version_1"]
    with pytest.raises(UserError, match="version_1: its columns: .*Emperor.*; train them with one split"):
        combine(runs)
    with pytest.raises(UserError, match="its columns is .*Emperor.*, but the student's is .*Chinstrap"):
        train([*table_args("t.csv"), "--model", "DistilledRegression", "--model.teacher", runs[1], *QUICK])
