import json
import os
import shutil
import socket
from types import SimpleNamespace

import numpy as np
import onnx
import pytest

from project.runtime.errors import UserError
from project.serving.artifact import BATCH_ROWS, Artifact
from project.serving.metadata import read_metadata
from tests.serving.artifacts import metadata, write_linear


def test_predictions_over_many_batches_are_those_of_the_formula(houses):
    x = np.random.default_rng(0).normal(size=(2 * BATCH_ROWS + 3, 2)).astype(np.float32)
    found = Artifact(houses).predict(x)
    assert list(found) == ["outputs"]
    np.testing.assert_allclose(found["outputs"], x @ [[50.0], [-1.0]] + 10, rtol=1e-4, atol=1e-4)


def test_no_rows_give_no_predictions_of_the_right_shape(tmp_path):
    described = metadata(["a"], ["y"], class_names=["no", "yes"])
    artifact = Artifact(write_linear(tmp_path / "a.onnx", [[1.0, 2.0]], [0.0, 0.0], described))
    found = artifact.predict(np.empty((0, 1), np.float32))
    assert {name: values.shape for name, values in found.items()} == {"outputs": (0, 2), "probabilities": (0, 2)}


def test_any_number_of_time_steps_where_the_length_is_free(tmp_path):
    described = metadata(["a"], ["y"], in_shape=[4, 1], window=4, dynamic_length=True)
    artifact = Artifact(write_linear(tmp_path / "a.onnx", [[2.0]], [1.0], described))
    for steps in (1, 4, 9):
        assert artifact.predict(np.full((3, steps, 1), 5, np.float32))["outputs"].tolist() == [[11.0]] * 3


def test_metadata_are_read_as_onnx_reads_them(houses):
    [entry] = onnx.load(houses).metadata_props
    assert read_metadata(houses) == json.loads(entry.value) == Artifact(houses).metadata


def test_every_cut_of_a_file_is_refused(houses, tmp_path):
    whole, path = houses.read_bytes(), tmp_path / "cut.onnx"
    for length in range(0, len(whole), 7):
        path.write_bytes(whole[:length])
        with pytest.raises(UserError, match=r"cut\.onnx"):
            Artifact(path)


def bent(houses, path, bend):
    model = onnx.load(houses)
    bend(model)
    onnx.save(model, path)
    return path


def props(**changes):
    def bend(model):
        described = json.loads(model.metadata_props[0].value) | changes
        model.metadata_props[0].value = json.dumps(described)

    return bend


@pytest.mark.parametrize(
    ("bend", "told"),
    [
        (lambda model: model.metadata_props.pop(), "of another project"),
        (props(format=2), "written by another version"),
        (props(in_shape=[3]), "expected 3 feature_names, got 2"),
        (props(out_features="1"), "invalid out_features: '1'"),
        (props(feature_names=["a", 1]), "invalid feature_names"),
        (lambda model: setattr(model.metadata_props[0], "value", "{"), "metadata are damaged"),
        (lambda model: setattr(model.metadata_props[0], "value", "[1]"), "metadata are damaged"),
        (lambda model: setattr(model.graph.node[1], "op_type", "Nonsense"), "ONNX Runtime cannot load it"),
        (lambda model: setattr(model.graph.input[0].type.tensor_type, "elem_type", 11), "input is not float32|load it"),
    ],
)
def test_a_foreign_or_damaged_file_is_told_in_one_line(houses, tmp_path, bend, told):
    with pytest.raises(UserError, match=told):
        Artifact(bent(houses, tmp_path / "bent.onnx", bend))


def not_files(folder):
    """What may lie at a path besides a file, with what is told of it."""
    os.mkfifo(folder / "fifo.onnx")
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(folder / "socket.onnx"))
    (folder / "device.onnx").symlink_to("/dev/zero")
    (folder / "terminal.onnx").symlink_to("/dev/tty")
    (folder / "folder.onnx").mkdir()
    (folder / "loop.onnx").symlink_to("loop.onnx")
    with (folder / "large.onnx").open("wb") as file:
        file.truncate(2**40)
    special = ["fifo.onnx", "socket.onnx", "device.onnx", "terminal.onnx"]
    others = {"folder.onnx": "is a folder", "large.onnx": "larger than 2 GiB", "gone.onnx": "no such file"}
    return dict.fromkeys(special, "not a regular file") | others | {"loop.onnx": "Too many levels of symbolic links"}


def test_what_is_no_file_is_refused_without_waiting_for_it(tmp_path):
    for name, problem in not_files(tmp_path).items():
        for read in (read_metadata, Artifact):
            with pytest.raises(UserError, match=problem):
                read(tmp_path / name)


def test_what_is_checked_is_what_is_loaded(houses, tmp_path, monkeypatch):
    """The file is opened once: each time it is, another one takes its place."""
    path = tmp_path / "model.onnx"
    described = metadata(["rooms", "age"], ["price"])
    shutil.copy(houses, path)
    opened, open_file = [], os.open

    def open_and_replace(name, *args, **kwargs):
        found = open_file(name, *args, **kwargs)
        if str(name) == str(path):
            opened.append(name)
            path.unlink()
            write_linear(path, [[0.0], [0.0]], [float(len(opened))], described | {"net": "MLP"})
        return found

    monkeypatch.setattr(os, "open", open_and_replace)
    artifact = Artifact(path)
    assert len(opened) == 1
    assert artifact.metadata["net"] == "Linear"
    assert artifact.predict(np.ones((1, 2), np.float32))["outputs"].tolist() == [[59.0]]


def test_a_long_series_is_computed_in_small_batches(tmp_path):
    described = metadata(["a"], ["y"], in_shape=[4, 1], window=4, dynamic_length=True)
    artifact = Artifact(write_linear(tmp_path / "a.onnx", [[2.0]], [1.0], described))
    sizes, run = [], artifact.session.run
    artifact.session = SimpleNamespace(
        run=lambda names, inputs, *rest: (sizes.append(inputs["x"].shape), run(names, inputs, *rest))[1]
    )
    x = np.arange(300, dtype=np.float32)[:, None, None].repeat(64, axis=1)
    assert artifact.predict(x)["outputs"].ravel().tolist() == [2.0 * value + 1 for value in range(300)]
    assert max(rows * steps**2 for rows, steps, _ in sizes) <= BATCH_ROWS * 4**2


def test_what_is_no_file_of_onnx_is_told(tmp_path):
    (tmp_path / "table.csv").write_text("a,b\n1,2\n" * 100)
    for name, told in [("gone.onnx", "no such file"), (".", "is a folder"), ("table.csv", "not an ONNX file")]:
        with pytest.raises(UserError, match=told):
            read_metadata(tmp_path / name)
