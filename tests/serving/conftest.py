"""One artifact of each kind."""

from pathlib import Path

import pytest

from tests.serving.artifacts import metadata, write_linear


@pytest.fixture(scope="session")
def houses(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """price = 50 rooms - age + 10."""
    path = tmp_path_factory.mktemp("houses") / "houses.onnx"
    return write_linear(path, [[50.0], [-1.0]], [10.0], metadata(["rooms", "age"], ["price"]))
