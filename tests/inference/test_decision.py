"""A threshold that a training has chosen decides wherever its run predicts."""

import json
import random
from pathlib import Path

import numpy as np
import pyarrow.csv
import pytest
from sklearn.metrics import accuracy_score, f1_score

from project import load, train
from project.exporting.export import export
from project.inference.evaluate import evaluate
from project.inference.predict import predict
from project.runtime.errors import UserError
from project.serving.artifact import Artifact
from project.serving.limits import LIMITS
from project.serving.memory import MemoryBudget
from project.serving.model import CSV, JSON, Model


@pytest.fixture
def run(folder, capsys):
    """A run on classes of which the second is rare."""
    draw = random.Random(0)
    rows = [(a := draw.gauss(0, 1), "yes" if a + draw.gauss(0, 1) > 1.8 else "no") for _ in range(600)]
    Path("t.csv").write_text("a,bought\n" + "".join(f"{a:.3f},{label}\n" for a, label in rows))
    args = ["--data", "TabularDataModule", "--data.path=t.csv", "--data.target=bought", "--model.threshold=f1"]
    train([*args, "--trainer.max_epochs=3", "--optimizer.lr=0.1", "--epoch_line.every_n_epochs=0"])
    return load("last")


def decisions(predicted, run):
    """Rows whose class is that of the threshold, and which are not of the most likely class."""
    chosen = json.loads((run.path / "threshold.json").read_text())["threshold"]
    probabilities = predicted["bought_probability_yes"].to_numpy()
    expected = np.where(probabilities >= chosen, "yes", "no")
    assert (expected != np.where(probabilities >= 0.5, "yes", "no")).any()
    return expected


def test_run_file_server_and_metrics_decide_alike(run, folder, capsys):
    artifact = Artifact(export("last", Path("m.onnx")).path)
    predict("last", "t.csv", Path("run.csv"))
    predict("m.onnx", "t.csv", Path("file.csv"))
    tables = [pyarrow.csv.read_csv(name) for name in ("run.csv", "file.csv")]
    expected = decisions(tables[0], run)
    assert [*expected] == [*run.predict({"a": tables[0]["a"].to_pylist()})]
    model = Model(artifact, LIMITS, MemoryBudget(2**28, 1.0))
    body = json.dumps({"rows": [{"a": a} for a in tables[0]["a"].to_pylist()]}).encode()
    assert [row["bought"] for row in json.loads(model.answer(JSON, bytearray(body))[1])["predictions"]] == [*expected]
    answered = model.answer(CSV, bytearray(Path("t.csv").read_bytes()))[1]
    for table in (*tables, pyarrow.csv.read_csv(pyarrow.BufferReader(answered))):
        assert table["bought_predicted"].to_pylist() == [*expected]
    for reference in ("last", "m.onnx"):
        metrics, _ = evaluate(reference, ["--data.test_path=t.csv"])
        actual = tables[0]["bought"].to_pylist()
        assert metrics["test/accuracy"] == pytest.approx(accuracy_score(actual, expected))
        assert metrics["test/f1"] == pytest.approx(f1_score(actual, expected, average="macro"))
    assert run.metrics["test/accuracy"] == pytest.approx(evaluate("last")[0]["test/accuracy"])
    assert "It predicts yes from a probability of that class of" in (run.path / "card.md").read_text()


def test_a_run_without_the_threshold_that_it_was_to_choose_is_an_error(run):
    (run.path / "threshold.json").unlink()
    with pytest.raises(UserError, match=r"threshold.json: no threshold, which a training with --model.threshold f1"):
        load("last")
