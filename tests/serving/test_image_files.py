"""Models of images answer image files, with the pixels that training decodes."""

import base64
import io
import json

import numpy as np
import pytest
from PIL import Image

from project.data import ImageDataModule
from project.inference.predict import predict
from project.runtime.errors import UserError
from project.schema.pixels import Size
from tests.data.images import write_images
from tests.serving.artifacts import metadata, write_linear
from tests.serving.running import running

SIZE = Size(1, 4, 4)


@pytest.fixture(scope="module")
def bright(tmp_path_factory):
    """The sum of the pixels, each times its number, over a thousand."""
    field = {"name": "image", "kind": "image", **SIZE._asdict()}
    others = {"in_shape": list(SIZE[:3]), "fields": [field], "feature_means": [0.0], "net": "CNN"}
    path = tmp_path_factory.mktemp("bright") / "bright.onnx"
    return write_linear(path, np.arange(16.0)[:, None] / 1000, [0.0], metadata(["image"], ["bright"], **others))


@pytest.fixture(scope="module")
def server(bright):
    with running(bright) as server:
        yield server


@pytest.fixture
def folder_of_images(folder):
    return write_images(folder / "pictures", count=5, side=9)


def expected(path):
    """What the model computes of the pixels in training."""
    data = ImageDataModule(str(path), size=4, cache=str(path.parent / "cache"))
    images = [x.flatten().numpy() for x in data.decoded.pixels]
    return {name: float(image @ np.arange(16.0)) / 1000 for name, image in zip(data._paths, images, strict=True)}


def png(image):
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def test_bodies_and_base64_get_the_answers_of_the_pixels_in_training(server, folder_of_images):
    for name, value in expected(folder_of_images).items():
        data = open(name, "rb").read()  # noqa: PTH123, SIM115
        raw = server.post(data, "image/png")
        assert raw.headers["content-type"] == "application/json"
        assert raw.json()["predictions"][0]["bright"] == pytest.approx(value, rel=1e-6)
        text = base64.b64encode(data).decode()
        rows = [{"image": text}, [text], [f"data:image/png;base64,{text}"]]
        assert [row["bright"] for row in server.predict(rows)] == [pytest.approx(value, rel=1e-6)] * 3


@pytest.mark.parametrize(
    ("body", "kind", "status", "problem"),
    [
        (b"no image", "image/png", 422, "is not an image"),
        (png(Image.new("L", (4000, 4000))), "image/png", 413, "MiB to decode"),
        ({"rows": [["no base64!"]]}, "application/json", 422, "row 1, feature 'image': is not in base64"),
        ({"rows": [[7]]}, "application/json", 422, "7 is not an image in base64"),
        ({"rows": [[None]]}, "application/json", 422, "missing value"),
        ({"rows": [[base64.b64encode(png(Image.new("L", (4000, 4000)))).decode()]]}, "application/json", 413, "MiB"),
        (b"image\nx.png\n", "text/csv", 415, "send content-type application/json, image/png"),
    ],
    ids=["text", "large", "no base64", "number", "null", "large in JSON", "table"],
)
def test_what_is_no_usable_image_is_refused_in_one_line(server, body, kind, status, problem):
    answer = server.post(body if isinstance(body, bytes) else json.dumps(body), kind)
    assert answer.status_code == status
    assert problem in answer.json()["detail"]


def test_the_description_names_the_types_of_images(server):
    described = server.client.get("/openapi.json").json()["paths"]["/predict"]["post"]
    assert {"application/json", "image/png", "image/jpeg"} <= described["requestBody"]["content"].keys()
    example = described["requestBody"]["content"]["application/json"]["example"]
    assert server.post(json.dumps(example)).status_code == 200
    assert server.client.get("/metadata").json()["fields"][0]["height"] == 4


def test_files_folders_and_tables_of_paths_are_predicted_alike(bright, folder_of_images, folder):
    values = expected(folder_of_images)
    table = "".join(f"{name.removeprefix(str(folder) + '/')},{k}\n" for k, name in enumerate(values))
    (folder / "table.csv").write_text("image,number\n" + table)
    one = next(iter(values))
    for source, names in (("pictures", list(values)), ("table.csv", list(values)), (one, [one])):
        assert predict(str(bright), source, folder / "out.csv") == len(names)
        lines = (folder / "out.csv").read_text().splitlines()[1:]
        found = [(line.split(",")[0], float(line.split(",")[-1])) for line in lines]
        assert [str(folder / name) for name, _ in found] == names
        assert [value for _, value in found] == pytest.approx([values[name] for name in names], rel=1e-6)


def test_a_file_that_cannot_be_predicted_is_named(bright, folder):
    (folder / "x.png").write_bytes(b"no image")
    with pytest.raises(UserError, match=r"x.png: column 'image', row 1: is not an image"):
        predict(str(bright), "x.png", folder / "out.csv")
    (folder / "t.csv").write_text("image\nmissing.png\n")
    with pytest.raises(UserError, match=r"missing.png: No such file"):
        predict(str(bright), "t.csv", folder / "out.csv")
    assert not (folder / "out.csv").exists()
