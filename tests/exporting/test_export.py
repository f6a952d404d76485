"""A run as one file, which answers as the network does, or is not written."""

import json
import shutil
from functools import partial
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from safetensors import safe_open
from torch import nn

from project.exporting import formats
from project.exporting.export import export
from project.models import Classification, Regression
from project.nets import CNN, MLP, RNN, EncoderDecoder, Ensemble, Linear, TableNet, Transformer
from project.runs.checkpoint import load_model, read_checkpoint
from project.runs.folder import find_checkpoint
from project.runs.weights import read_weights
from project.runtime.errors import UserError
from project.serving.artifact import Artifact
from project.training.train import train
from tests.command import run_script

SERIES, IMAGE, TABLE = (16, 2), (1, 8, 8), (5,)
NETS = {
    "Linear": (Linear, TABLE),
    "MLP": (MLP, TABLE),
    "TableNet": (partial(TableNet, levels=[0, 3, 2, 0]), TABLE),
    "CNN": (CNN, IMAGE),
    "rnn, bidirectional, 2 layers": (partial(RNN, cell="rnn", bidirectional=True, layers=2), SERIES),
    "lstm": (partial(RNN, cell="lstm"), SERIES),
    "lstm, bidirectional, 2 layers": (partial(RNN, cell="lstm", bidirectional=True, layers=2), SERIES),
    "gru, bidirectional, 2 layers": (partial(RNN, cell="gru", bidirectional=True, layers=2), SERIES),
    "Transformer, causal": (partial(Transformer, layers=1), SERIES),
    "Transformer, not causal": (partial(Transformer, layers=1, causal=False), SERIES),
    "EncoderDecoder": (partial(EncoderDecoder, layers=1), SERIES),
    "Ensemble of GRUs": (partial(Ensemble, nets=[partial(RNN, cell="gru")], copies=2), SERIES),
}


# To others, which are in the quick suite.
SIMILAR = ("rnn, bidirectional, 2 layers", "gru, bidirectional, 2 layers", "lstm", "Transformer, not causal")
SIMILAR += ("Transformer, causal", "lstm, bidirectional, 2 layers", "Ensemble of GRUs", "EncoderDecoder", "MLP")


def model_of(net, shape, kind=Regression):
    """A model of random weights and statistics."""
    torch.manual_seed(0)
    model = kind(shape, 3, net=net).eval()
    for scaling in (model.net.features, model.net.targets):
        scaling.fill(10 * torch.randn(scaling.mean.shape), 0.5 + 3 * torch.rand(scaling.std.shape))
    for module in model.modules():
        if isinstance(module, Linear):  # which starts at zero
            nn.init.normal_(module.linear.weight)
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
    return model


def written(format, path, model, sample):
    """A model's file, as far as it can be written without a run: its description, and how it answers."""
    network = formats.ExportModule(model.net, isinstance(model, Classification)).eval()
    return formats.write(format, path, network, {"dynamic_length": sample.ndim == 3}, sample)


def rows_like(model, count, *steps):
    shape = (*steps, model.net.net.in_shape[1]) if steps else model.net.net.in_shape
    return torch.randn(count, *shape) * model.net.features.std + model.net.features.mean


def session(path):
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(path, options)


def assert_alike(found, wanted, scale):
    assert found.shape == wanted.shape
    assert np.abs(found - wanted.numpy()).max() <= 1e-6 * scale


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow if name in SIMILAR else []) for name in NETS]
)
def test_every_net_answers_as_in_torch_to_batches_and_sequences_of_any_size(folder, name, monkeypatch):
    monkeypatch.setattr(formats, "Artifact", lambda path: type("Unread", (), {"predict": None}))
    net, shape = NETS[name]
    model = model_of(net, shape, Classification if shape == IMAGE else Regression)
    written("onnx", folder / "model.onnx", model, rows_like(model, 2))
    onnx.checker.check_model("model.onnx", full_check=True)
    assert onnx.load("model.onnx").opset_import[0].version == 20
    for rows in (1, 3, 700):
        for steps in [(16,), (1,), (50,)] if shape == SERIES else [()]:
            x = rows_like(model, rows, *steps)
            with torch.no_grad():
                wanted = [model(x)]
                if shape == IMAGE:
                    wanted.append(wanted[0].softmax(1))
                if name.startswith("Ensemble"):
                    wanted.append(model.net.spread(x))
            found = session("model.onnx").run(None, {"x": x.numpy()})
            for one, other in zip(found, wanted, strict=True):
                assert_alike(one, other, max(wanted[0].abs().max(), 1))


def files(folder):
    return {path for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def run(default_run, folder):
    shutil.copytree(default_run[0], folder / "run")
    return "run"


def model_in(run):
    return load_model(read_checkpoint(find_checkpoint(run)))


@pytest.mark.parametrize("format", [pytest.param("pt2", marks=pytest.mark.slow), "torchscript"])
@pytest.mark.parametrize(
    "name",
    [
        pytest.param("lstm, bidirectional, 2 layers", marks=pytest.mark.slow),
        "EncoderDecoder",
        pytest.param("Ensemble of GRUs", marks=pytest.mark.slow),
    ],
)
def test_other_formats_answer_as_in_torch(folder, name, format):
    net, shape = NETS[name]
    model = model_of(net, shape, Classification if shape == IMAGE else Regression)
    metadata, _ = written(format, path := folder / f"model.{format}", model, rows_like(model, 2))
    computed = torch.export.load(path).module() if format == "pt2" else torch.jit.load(path)
    recurrent = any(isinstance(module, nn.RNNBase) for module in model.modules())
    assert metadata["dynamic_length"] == (shape == SERIES and not (format == "pt2" and recurrent))
    for rows in (1, 3, 700):
        for steps in [(16,), (1,), (50,)] if metadata["dynamic_length"] else [()]:
            x = rows_like(model, rows, *steps)
            wanted = model(x).detach()
            assert_alike(computed(x)[0].detach().numpy(), wanted, wanted.abs().max())


def test_a_file_says_itself_what_it_is_and_not_where_it_was_made(run, folder):
    path, difference = export(run)
    assert (path, difference) == (Path("run/model.onnx"), pytest.approx(0, abs=1e-6))
    entries = {entry.key: entry.value for entry in onnx.load(path).metadata_props}
    assert entries.keys() == {"hello_lightning", "hello_lightning_sha256"}
    described = json.loads(entries["hello_lightning"])
    metrics = json.loads((folder / "run/metrics.json").read_text())
    assert described["metrics"] == {name: value for name, value in metrics.items() if name.startswith("test/")}
    assert described["config"] == (folder / "run/config.yaml").read_text()
    wanted = {"format": 1, "task": "regression", "net": "Linear", "in_shape": [1], "out_features": 1}
    wanted |= {"dynamic_length": False, "feature_names": ["x"], "target_names": ["y"], "class_names": None, "window": 0}
    wanted |= {"missing": "error", "precision": "float32", "run": "run"}
    assert {name: described[name] for name in wanted} == wanted
    content = path.read_bytes()
    assert b"site-packages" not in content
    assert b"forward" not in content


def test_classes_come_with_probabilities_and_images_with_a_name_for_each_pixel(folder, capsys):
    args = ["--data", "DigitsDataModule", "--data.classes", "[3, 5, 7]", "--model", "Classification"]
    train([*args, "--model.net", "MLP", "--trainer.max_epochs", "1", "--epoch_line.every_n_epochs", "0"])
    artifact = Artifact(export("last")[0])
    assert artifact.metadata["class_names"] == ["3", "5", "7"]
    assert artifact.metadata["feature_names"][9] == "pixel_1_1"
    means = read_checkpoint(find_checkpoint("last"))["data"]["feature_means"]
    assert artifact.metadata["feature_means"] == pytest.approx(means * 64)
    x = 16 * torch.rand(5, 1, 8, 8)
    answer, model = artifact.predict(x.numpy()), model_in("last")
    assert_alike(answer["outputs"], model(x).detach(), 10)
    assert_alike(answer["probabilities"], model.predict_step(x, 0).detach(), 1)


def test_safetensors_hold_the_weights_bit_by_bit_and_what_they_are_of(run):
    path, _ = export(run, format="safetensors")
    state, model = read_weights(str(path)).state, model_in(run)
    assert state.keys() == model.state_dict().keys()
    assert all(torch.equal(state[name], value) for name, value in model.state_dict().items())
    with safe_open(path, framework="pt") as file:
        facts = file.metadata()
    assert facts["net"] == "Linear"
    assert "SyntheticDataModule" in facts["config"]
    assert json.loads(facts["data"])["target_names"] == ["y"]


@pytest.mark.parametrize(
    "change",
    [
        lambda y: y * (1 + 3e-5),
        pytest.param(lambda y: y * np.nan, marks=pytest.mark.slow),
        pytest.param(lambda y: y[:, :0], marks=pytest.mark.slow),
    ],
)
def test_a_file_that_answers_otherwise_is_not_written(run, folder, monkeypatch, change):
    before, predict = files(folder), Artifact.predict
    monkeypatch.setattr(Artifact, "predict", lambda *_: {name: change(y) for name, y in predict(*_).items()})
    with pytest.raises(UserError, match="no file was written"):
        export(run)
    assert files(folder) == before


def test_a_wrong_flag_is_told_as_such_and_not_as_rows_that_are_gone(run):
    with pytest.raises(UserError, match=r"^unknown flag --outpt; --help lists the flags of this command, train.py"):
        export(run, args=["--outpt", "model.onnx"])


@pytest.mark.slow
def test_a_table_that_is_gone_is_named_with_the_mend(folder, table, capsys):
    path = table()
    train(["--data", "TabularDataModule", f"--data.path={path}", "--data.target=y", "--trainer.max_epochs=1"])
    path.rename("moved.csv")
    with pytest.raises(UserError, match=r"cannot read the rows to compare outputs on .*table.csv.*--data.path"):
        export("last")
    assert not list(folder.rglob("*.onnx"))
    assert export("last", args=["--data.path", "moved.csv"]).path.is_file()
    path = export("last", format="safetensors").path  # for which no rows are needed
    assert path.is_file()


@pytest.mark.parametrize(
    ("args", "told"),
    [
        (["none"], "none: no such run"),
        (["run", "--format", "pickle"], "--format: must be one of onnx, pt2, torchscript, safetensors"),
        (["run", "model.pt"], "model.pt: must end in .onnx"),
        (["run", "model.onnx", "--format", "pt2"], "model.onnx: must end in .pt2"),
        (["run", "none/model.onnx"], "no folder none"),
        (["run", "run"], "run: is a folder"),
        (["run.onnx"], "run.onnx: expected a run, got an exported file"),
        (["run", "--data.rows", "0"], "--data.rows: must be an integer, 1 or more, got 0"),
        (["run", "--format", "safetensors", "--data.rows", "5"], "--data.rows: --format safetensors needs no data"),
    ],
)
def test_a_mistake_is_named_and_leaves_no_file(run, folder, args, told):
    (folder / "run.onnx").touch()
    before = files(folder)
    done = run_script(folder, "export", *args)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1
    assert told in done.stderr
    assert files(folder) == before


def test_command_says_how_large_the_file_is_and_how_near(run, folder):
    done = run_script(folder, "export", "run", "here.onnx")
    assert (done.returncode, done.stderr) == (0, "")
    size = (folder / "here.onnx").stat().st_size
    assert done.stdout.startswith(f"here.onnx: {size:,} bytes; outputs differ from the network's by ")
