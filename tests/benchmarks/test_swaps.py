import numpy as np
import pytest
from benchmarks import swaps

from tests.serving.artifacts import metadata, write_linear


@pytest.mark.slow
def test_every_request_is_answered_while_the_model_is_replaced(tmp_path, monkeypatch, capsys):
    names = [f"x{number}" for number in range(8)]
    artifact = write_linear(tmp_path / "a.onnx", np.ones((8, 1)), [0.0], metadata(names, ["y"]))
    monkeypatch.setattr(swaps, "SECONDS", 2.0)
    monkeypatch.setattr(swaps, "SWAPS", 2)
    swaps.main(artifact)
    assert "with 2 " in capsys.readouterr().out
