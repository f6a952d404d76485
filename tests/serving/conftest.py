"""One artifact of each kind, and a server for each."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.serving.artifacts import metadata, write_linear
from tests.serving.running import Running, running


@pytest.fixture(scope="session")
def houses(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """price = 50 rooms - age + 10."""
    path = tmp_path_factory.mktemp("houses") / "houses.onnx"
    return write_linear(path, [[50.0], [-1.0]], [10.0], metadata(["rooms", "age"], ["price"]))


@pytest.fixture(scope="session")
def pets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Cat or dog by the sign of height - weight, with a spread; what is missing leaves a row out."""
    described = metadata(["height", "weight"], ["species"], class_names=["cat", 'dog "%s"'], missing="drop")
    path = tmp_path_factory.mktemp("pets") / "pets.onnx"
    return write_linear(path, [[1.0, 0.0], [0.0, 1.0]], [0.0, 0.0], described, spread=True)


@pytest.fixture(scope="session")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sum of pixels weighted by their number, 2 x 3 of them."""
    names = [f"pixel_{row}_{column}" for row in range(2) for column in range(3)]
    described = metadata(names, ["weighted"], in_shape=[1, 2, 3], net="CNN", missing="mean")
    path = tmp_path_factory.mktemp("images") / "images.onnx"
    return write_linear(path, np.arange(6.0)[:, None], [0.0], described)


@pytest.fixture(scope="session")
def series(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """10 first a + first b + … of a window of 3 steps of a and b."""
    described = metadata(["a", "b"], ["a", "a+2"], in_shape=[3, 2], window=3, net="RNN", missing="drop")
    described |= {"feature_means": [1.0, 2.0]}
    weights = np.stack([10.0 ** np.arange(6), np.ones(6)], axis=1)
    path = tmp_path_factory.mktemp("series") / "series.onnx"
    return write_linear(path, weights, [0.0, 0.0], described)


@pytest.fixture(scope="session")
def house_server(houses: Path) -> Iterator[Running]:
    with running(houses, "--max_bytes", 1_000_000, "--max_rows", 20_000) as server:
        yield server


@pytest.fixture(scope="session")
def servers(
    houses: Path, pets: Path, images: Path, series: Path, house_server: Running
) -> Iterator[dict[str, tuple[Path, Running]]]:
    """Each artifact with its server."""
    with running(pets) as pet_server, running(images) as image_server, running(series) as series_server:
        yield {
            "houses": (houses, house_server),
            "pets": (pets, pet_server),
            "images": (images, image_server),
            "series": (series, series_server),
        }
