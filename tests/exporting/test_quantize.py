"""Files in fewer bits: smaller, in integers, about as good, and nothing where there is nothing to gain."""

import json
from collections import Counter
from contextlib import chdir
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import numpy_helper
from torch.nn import functional

from project.data import DigitsDataModule
from project.exporting.export import export
from project.exporting.onnx_quantize import keep_in_float
from project.exporting.quantize import NoGainError, quantize
from project.inference import compare
from project.inference.evaluate import evaluate
from project.serving.artifact import Artifact
from project.serving.metadata import read_metadata
from project.training.train import train
from tests.command import run_script

DIGITS = ["--data", "DigitsDataModule", "--model", "Classification", "--epoch_line.every_n_epochs", "0"]
DIGITS += ["--optimizer", "Adam", "--optimizer.lr", "0.002", "--trainer.max_epochs", "2"]
SERIES = ["--data", "SeriesDataModule", "--data.rows", "300", "--model.net", "RNN", "--model.net.hidden", "64"]
SERIES += ["--trainer.max_epochs", "1", "--epoch_line.every_n_epochs", "0"]
TRAINED = {
    "mlp": [*DIGITS, "--model.net", "MLP", "--model.net.hidden", "[256, 256]"],
    "cnn": [*DIGITS, "--model.net", "CNN"],
    "linear": ["--trainer.max_epochs", "1", "--epoch_line.every_n_epochs", "0"],
}
RECURRENT = {cell: [*SERIES, "--model.net.cell", cell] for cell in ("lstm", "gru")}


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """A folder with an exported file of each of several nets."""
    with chdir(folder := tmp_path_factory.mktemp("models")):
        export_each(TRAINED)
    return folder


@pytest.fixture(scope="module")
def recurrent(models):
    """The same folder, with files of recurrent nets."""
    with chdir(models):
        export_each(RECURRENT)
    return models


def export_each(nets):
    for name, args in nets.items():
        train(args)
        export("last", Path(f"{name}.onnx"))


@pytest.fixture(autouse=True)
def here(models, monkeypatch):
    """Work in that folder, and take no time to time."""
    monkeypatch.chdir(models)
    monkeypatch.setattr(compare, "ROUNDS", 1)
    monkeypatch.setattr(compare, "ROUND_SECONDS", 0)


def operators(path):
    return Counter(node.op_type for node in onnx.load(path).graph.node)


def accuracy(path):
    """By hand."""
    test = DigitsDataModule().splits.test
    return float((Artifact(path).predict(test.x.numpy())["outputs"].argmax(1) == test.y.numpy()).mean())


def test_linear_layers_multiply_integers(models):
    done = quantize("mlp.onnx")
    assert (done.path, done.method) == (Path("mlp.int8.onnx"), "dynamic")
    found = operators(done.path)
    assert (found["MatMulInteger"], found["Gemm"], found["MatMul"]) == (3, 0, 0)
    assert done.before.bytes == Path("mlp.onnx").stat().st_size
    assert done.after.bytes == done.path.stat().st_size < done.before.bytes / 3.4
    assert done.before.metrics == pytest.approx(evaluate("mlp.onnx")[0])
    assert done.after.metrics["test/accuracy"] == pytest.approx(accuracy(done.path)) != 0
    assert abs(accuracy(done.path) - accuracy("mlp.onnx")) <= 0.005
    assert done.after.milliseconds.keys() == {(1, 1), (1, 64), (2, 1), (2, 64)}


def test_convolutions_are_calibrated_on_training_rows_channel_by_channel(models):
    done = quantize("cnn.onnx")
    assert done.method == "static"
    model = onnx.load(done.path)
    weights = {weight.name: numpy_helper.to_array(weight) for weight in model.graph.initializer}
    constants = {name: value for name, value in weights.items() if value.dtype == np.int8 and value.ndim == 4}
    assert [value.shape for value in constants.values()] == [(64, 32, 3, 3)]
    scales = [
        weights[n.input[1]] for n in model.graph.node if n.op_type == "DequantizeLinear" and n.input[0] in constants
    ]
    assert [len(np.unique(scale)) for scale in scales] == [64]
    assert done.after.bytes < done.before.bytes / 2.5
    assert abs(accuracy(done.path) - accuracy("cnn.onnx")) <= 0.005
    [first] = [node for node in model.graph.node if node.op_type == "QuantizeLinear"][:1]
    x = DigitsDataModule().splits.train.x
    conv = next(node for node in model.graph.node if node.op_type == "Conv")
    weight, bias = (torch.from_numpy(weights[name].copy()) for name in conv.input[1:])
    maps = functional.conv2d((x - x.mean()) / x.std(correction=0), weight, bias, padding=1)
    assert weights[first.input[1]] * 255 == pytest.approx(maps.max().item(), rel=0.1)  # of 512 of the rows


def test_a_convolution_of_few_inputs_stays_as_it_is_and_is_pooled_before_it_is_rounded(models):
    model = onnx.load("cnn.onnx")
    kept = keep_in_float(model)
    onnx.checker.check_model(model, full_check=True)
    assert [node.op_type for node in model.graph.node if node.name in kept] == ["Conv", "MaxPool", "Relu"]
    x = DigitsDataModule().splits.test.x.numpy()
    before, after = (
        onnxruntime.InferenceSession(each.SerializeToString()).run(["outputs"], {"x": x})[0]
        for each in (onnx.load("cnn.onnx"), model)
    )
    assert np.array_equal(before, after)
    quantize("cnn.onnx", Path("kept.onnx"))
    order = [node.op_type for node in onnx.load("kept.onnx").graph.node if node.op_type != "DequantizeLinear"]
    assert order[:6] == ["Sub", "Div", "Conv", "MaxPool", "Relu", "QuantizeLinear"]


def test_outputs_keep_all_their_digits(models):
    for name in ("mlp", "cnn"):
        path = f"{name}.int8.onnx"
        if not Path(path).exists():
            quantize(f"{name}.onnx")
        outputs = Artifact(path).predict(DigitsDataModule().splits.test.x.numpy())["outputs"]
        assert len(np.unique(outputs)) > 1_000  # and not 256


@pytest.mark.slow
def test_a_recurrence_is_one_operator_of_integers_or_told_to_gain_nothing(recurrent):
    done = quantize("lstm.onnx", Path("small.onnx"))
    assert operators("small.onnx")["DynamicQuantizeLSTM"] == 1
    assert done.after.bytes < done.before.bytes / 2.5
    x = np.random.default_rng(0).normal(size=(5, 30, 1)).astype(np.float32)  # of another length
    found, wanted = (Artifact(path).predict(x)["outputs"] for path in ("small.onnx", "lstm.onnx"))
    assert np.abs(found - wanted).max() < 0.1 * np.abs(wanted).max()
    with pytest.raises(NoGainError, match="no gain: .* GRU only in float32; --dtype float16"):
        quantize("gru.onnx")
    assert not Path("gru.int8.onnx").exists()


def test_a_few_weights_gain_nothing_in_any_precision(models):
    for precision in ("int8", "float16", "bfloat16"):
        with pytest.raises(NoGainError, match="no gain: .* bytes would become .*: its 6 weights are few"):
            quantize("linear.onnx", precision=precision)
    assert not list(models.glob("linear.*.onnx"))


@pytest.mark.slow
@pytest.mark.parametrize(("precision", "bits"), [("float16", 11), ("bfloat16", 8)])
def test_half_precision_rounds_weights_and_halves_the_file(recurrent, precision, bits):
    done = quantize("gru.onnx", precision=precision)
    assert done.path == Path(f"gru.{precision}.onnx")
    assert done.after.bytes < done.before.bytes / 1.7
    x = np.random.default_rng(0).normal(size=(50, 16, 1)).astype(np.float32)
    found, wanted = (Artifact(path).predict(x)["outputs"] for path in (done.path, "gru.onnx"))
    assert found.dtype == np.float32
    assert 0 < np.abs(found - wanted).max() < 2.0**-bits * 4 * np.abs(wanted).max()


def test_weights_beyond_the_range_of_half_precision_stay_as_they_are(models):
    model = onnx.load("mlp.onnx")
    large = next(weight for weight in model.graph.initializer if len(weight.dims) == 2)
    values = numpy_helper.to_array(large).copy()
    values[0, 0] = 1e6
    large.CopyFrom(numpy_helper.from_array(values, large.name))
    del model.metadata_props[1:]
    onnx.save(model, "large.onnx")
    quantize("large.onnx", precision="float16")
    kept = next(weight for weight in onnx.load("large.float16.onnx").graph.initializer if weight.name == large.name)
    np.testing.assert_array_equal(numpy_helper.to_array(kept), values)


def test_what_a_file_says_of_itself_goes_along(models):
    for precision in ("int8", "float16"):
        path = quantize("mlp.onnx", precision=precision).path
        assert read_metadata(path) == read_metadata("mlp.onnx") | {"precision": precision}


def test_a_run_is_taken_as_well_and_its_file_lies_beside_its_own(models):
    run = "lightning_logs/version_0"
    done = quantize(run, method="static")
    assert (done.path, done.method) == (Path(run) / "model.int8.onnx", "static")
    assert operators(done.path)["QuantizeLinear"] > 0
    assert read_metadata(done.path)["run"] == run
    assert not (Path(run) / "model.onnx").exists()


def files(folder):
    return {path for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    ("args", "told"),
    [
        (["none"], "none: no such run"),
        (["none.onnx"], "none.onnx: no such file"),
        (["text.onnx"], "text.onnx: not an ONNX file, or damaged"),
        (["flipped.onnx"], "flipped.onnx: damaged, or changed since it was written"),
        (["done.onnx"], "done.onnx: is already in int8"),
        (["mlp.onnx", "mlp.onnx"], "mlp.onnx: is the input file"),
        (["mlp.onnx", "out.bin"], "out.bin: must end in .onnx"),
        (["mlp.onnx", "none/out.onnx"], "no folder none"),
        (["mlp.onnx", "--dtype", "int4"], "--dtype: must be one of int8, float16, bfloat16, got 'int4'"),
        (["mlp.onnx", "--method", "magic"], "--method: must be one of dynamic, static"),
        (["mlp.onnx", "--method", "static", "--dtype", "float16"], "--method: must be one of dynamic, static"),
        (["mlp.onnx", "out.onnx", "--data.batch_size", "0"], "--data.batch_size: must be an integer, 1 or more, got 0"),
        (["linear.onnx"], "no gain: "),
    ],
)
def test_a_mistake_is_named_and_leaves_no_file(models, args, told):
    (models / "text.onnx").write_text("hello")
    content = bytearray((models / "mlp.onnx").read_bytes())
    content[len(content) // 2] ^= 1
    (models / "flipped.onnx").write_bytes(content)
    if not (models / "done.onnx").exists():
        model = onnx.load("mlp.onnx")
        described = json.loads(model.metadata_props[0].value) | {"precision": "int8"}
        onnx.helper.set_model_props(model, {"hello_lightning": json.dumps(described)})
        onnx.save(model, "done.onnx")
    before = files(models)
    done = run_script(models, "quantize", *args)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1
    assert told in done.stderr
    assert files(models) == before


@pytest.mark.slow
def test_command_prints_costs_and_gains(recurrent):
    done = run_script(recurrent, "quantize", "lstm.onnx", "printed.onnx")
    assert (done.returncode, done.stderr) == (0, "")
    for part in (
        "printed.onnx: dynamic int8",
        "test/mse",
        "bytes",
        "times smaller",
        "1 row, 1 thread",
        "64 rows, 2 thr",
    ):
        assert part in done.stdout
