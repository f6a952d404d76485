"""A checksum that any change shows."""

import onnx
import pytest

from project.runtime.errors import UserError
from project.serving.artifact import Artifact
from project.serving.seal import seal, verify
from tests.serving.artifacts import metadata, write_linear


def test_every_changed_bit_is_noticed_and_none_otherwise(tmp_path):
    path = write_linear(tmp_path / "model.onnx", [[2.0]], [1.0], metadata(["a"], ["y"]))
    verify(path.read_bytes(), path)  # what was never sealed is not judged
    seal(path)
    content = path.read_bytes()
    assert onnx.load(path).metadata_props[-1].key == "hello_lightning_sha256"
    assert Artifact(path).metadata["net"] == "Linear"
    for place in [0, len(content) // 2, len(content) - 200, len(content) - 1]:
        path.write_bytes(content[:place] + bytes([content[place] ^ 4]) + content[place + 1 :])
        with pytest.raises(UserError, match="damaged, or changed since it was written"):
            verify(path.read_bytes(), path)
    path.write_bytes(content + b"\n")
    with pytest.raises(UserError):
        Artifact(path)


def test_a_weight_that_was_changed_is_not_predicted_with(tmp_path):
    path = write_linear(tmp_path / "model.onnx", [[2.0]], [1.0], metadata(["a"], ["y"]))
    seal(path)
    model = onnx.load(path)
    model.graph.initializer[0].raw_data = b"\0\0\0\0"
    onnx.save(model, path)
    with pytest.raises(UserError, match="damaged, or changed since it was written"):
        Artifact(path)
