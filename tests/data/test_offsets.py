"""Numbers far from zero and close to one another, as in 1e8 + x: nothing of x is lost on the way to a network."""

import csv
import json
from fractions import Fraction

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pytest
import torch

from project.data import TabularDataModule
from project.exporting.export import export
from project.inference.evaluate import evaluate
from project.inference.predict import predict
from project.inference.run import load
from project.schema import Schema
from project.schema.offset import Offset
from project.serving.artifact import Artifact
from project.serving.limits import LIMITS
from project.serving.memory import MemoryBudget
from project.serving.model import JSON, Model
from project.training.train import train

FAR = 1e8
QUICK = ["--trainer.max_epochs", "2", "--epoch_line.every_n_epochs", "0"]


def write(name, offset, rows=400):
    """Rows of y = 3 a - b + effects of k + noise, where a and y are far from zero, and a has gaps."""
    draw = np.random.default_rng(0)
    # Multiples of 2**-20, to which an offset can be added without rounding.
    a, b, noise = np.round(draw.standard_normal((3, rows)) * 2**20) / 2**20
    k = draw.choice(["u", "v", "w"], rows)
    y = offset + 3 * a - b + 2 * (k == "v") + noise
    cells = [None if row % 9 == 0 else value for row, value in enumerate((offset + a).tolist())]
    table = pa.table({"y": y, "k": k, "a": cells, "b": b})
    pyarrow.csv.write_csv(table, name)
    return table


def trained(name, *args):
    metrics = train(["--data", "TabularDataModule", "--data.path", name, "--data.target", "y", *QUICK, *args])
    return metrics, load("last")


@pytest.mark.parametrize("seed", range(5))
def test_an_offset_is_round_and_its_differences_are_exact(seed):
    draw = np.random.default_rng(seed)
    middle, spread = draw.choice([-1, 1]) * 10 ** draw.uniform(-9, 12), 10 ** draw.uniform(-8, -3)
    values = middle * (1 + spread * draw.uniform(-0.5, 0.5, 100))
    offset = Offset()
    for part in np.split(np.append(values, [np.nan] * 5), 3):
        offset.partial_fit(part)
    assert offset.value != 0
    assert np.abs(values - offset.value).max() <= 2 * np.ptp(values)
    assert [Fraction(v) - Fraction(offset.value) for v in values] == [Fraction(v - offset.value) for v in values]
    other = Offset()
    other.partial_fit(values[1:-1])
    assert other.value == pytest.approx(offset.value, abs=np.ptp(values))


@pytest.mark.parametrize("values", [[], [np.nan], [1e8, 1e8], [1e8, 2e8], [-1.0, 1.0], [1990, 2020], [0.0, 1e-300]])
def test_most_numbers_have_no_offset(values):
    offset = Offset()
    offset.partial_fit(np.array(values, dtype=float))
    assert offset.value == 0


@pytest.mark.parametrize("model", [["--model", "LinearRegression"], ["--model.net", "Linear"]])
def test_a_model_learns_as_from_the_same_numbers_near_zero(folder, model):
    write("near.csv", 0.0)
    write("far.csv", FAR)
    (near, _), (far, run) = trained("near.csv", *model), trained("far.csv", *model)
    for name in ("train/mse", "test/mse", "test/mae", "test/r2"):
        assert far[name] == pytest.approx(near[name], rel=1e-4), name
    assert far["gap/train_mse"] == pytest.approx(near["gap/train_mse"], rel=1e-3, abs=1e-6)
    if "LinearRegression" in model:  # the equation is that of the numbers in the file
        with (run.path / "coefficients.csv").open() as file:
            *_, last = csv.DictReader(file)
        assert run.equation.bias.item() == pytest.approx(float(last["coefficient"]), rel=1e-6)
    assert evaluate("last", [])[0]["test/mse"] == pytest.approx(far["test/mse"], rel=1e-6)


def test_exact_answers_are_those_of_the_file_in_memory_and_streamed(folder):
    table = write("far.csv", FAR)
    for stream in (False, True):
        data = TabularDataModule("far.csv", "y", val_path="far.csv", test_path="far.csv", stream=stream)
        fit = data.least_squares
        assert data.target_offsets == [FAR]
        y, a = (np.array(table[name].to_pylist(), dtype=float) for name in ("y", "a"))
        gaps = np.isnan(a)
        a = np.where(gaps, data.schema.fields[1].fill[0], a)
        k = np.array(table["k"].to_pylist())
        design = np.column_stack([k == "v", k == "w", a - FAR, gaps, table["b"], np.ones(len(y))]).astype(float)
        solution = np.linalg.lstsq(design, y - FAR)[0]
        np.testing.assert_allclose(fit.weights[:, 0].numpy(), solution[:-1], rtol=1e-9, atol=1e-9)
        assert fit.bias.item() == pytest.approx(solution[-1] + FAR - FAR * solution[2], rel=1e-12)
        known = torch.tensor(a[~gaps] - FAR)
        assert (data.splits.train.x[:, 1][torch.tensor(~gaps)].double() - known).abs().max() < 1e-6


def test_run_file_and_server_answer_alike_to_the_digits_of_the_file(folder):
    far = write("far.csv", FAR)
    _, run = trained("far.csv", "--model", "LinearRegression")
    artifact = Artifact(export("last", folder / "far.onnx")[0])
    for source in ("last", str(artifact.path)):
        predict(source, folder / "far.csv", folder / "out.csv")
        found = pyarrow.csv.read_csv("out.csv")["y_predicted"].to_numpy()
        named = {name: far[name].to_pylist() for name in ("k", "a", "b")}
        np.testing.assert_allclose(found, run.predict(named)[:, 0], rtol=0, atol=1e-5)
    errors = (found - far["y"].to_numpy())[far["a"].is_valid().to_numpy()]
    assert np.std(errors) == pytest.approx(1, abs=0.1)
    body = json.dumps({"rows": [{name: named[name][row] for name in named} for row in range(len(far))]})
    model = Model(artifact, LIMITS, MemoryBudget(2**28, 1.0))
    answer = json.loads(model.answer(JSON, bytearray(body.encode()))[1])
    np.testing.assert_array_equal([row["y"] for row in answer["predictions"]], found)


def test_finetuning_keeps_the_offsets_that_the_network_knows(folder):
    write("far.csv", FAR)
    _, first = trained("far.csv", "--model.net", "TableNet")
    other = write("other.csv", FAR + 20)
    _, again = trained(
        "other.csv", "--model.net", "TableNet", "--weights.path", str(first.path), "--trainer.max_epochs=0"
    )
    rows = {name: other[name].to_pylist() for name in ("k", "a", "b")}
    assert again.metadata["target_offsets"] == [FAR]
    np.testing.assert_array_equal(again.predict(rows), first.predict(rows))


def test_rows_as_numbers_have_the_offsets_subtracted(folder):
    (folder / "t.csv").write_text("a,y\n" + "".join(f"{FAR + row % 7},{row % 7}\n" for row in range(60)))
    _, run = trained("t.csv", "--model", "LinearRegression")
    np.testing.assert_allclose(run.predict([[FAR + 3], [FAR + 5]]), [[3], [5]], atol=1e-4)


def test_a_schema_with_offsets_is_written_and_read(folder):
    (folder / "t.csv").write_text("a,y\n" + "".join(f"{FAR + row % 7},{row % 7}\n" for row in range(60)))
    data = TabularDataModule("t.csv", "y")
    again = Schema.from_list(json.loads(json.dumps(data.fields)))
    assert again.offsets == [FAR + 3] or again.offsets == [FAR]
    assert not again.is_plain
    assert again.decode(np.array([[2.0]])) == [{"a": again.offsets[0] + 2.0}]
    with pytest.raises(ValueError, match="invalid numbers"):
        Schema.from_list([{**data.fields[0], "offset": "far"}])
