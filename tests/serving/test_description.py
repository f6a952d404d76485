import json
import re
import subprocess
import sys
from pathlib import Path
from urllib.parse import urljoin

import jsonschema_rs
import pytest

from project.serving import pages
from project.serving.description import answer_schema, example_rows
from project.serving.metadata import read_metadata
from project.serving.model import CSV, JSON
from tests.serving.artifacts import metadata, write_linear
from tests.serving.running import MAX_LENGTH, running


@pytest.mark.parametrize(
    "name", ["pets", *(pytest.param(name, marks=pytest.mark.slow) for name in ("houses", "images", "series"))]
)
def test_schemathesis_finds_nothing(servers, name):
    command = Path(sys.executable).with_name("schemathesis")
    args = ["run", f"{servers[name][1].url}/openapi.json", "--max-examples", "20", "--generation-deterministic"]
    done = subprocess.run([command, *args, "--no-color"], capture_output=True, text=True, timeout=2 * MAX_LENGTH)
    assert done.returncode == 0, done.stdout[:2_000]
    assert "Tested: 5" in done.stdout


@pytest.mark.parametrize("name", ["houses", "pets", "images", "series"])
def test_examples_work_when_pasted(servers, name):
    artifact, server = servers[name]
    described = read_metadata(artifact)
    content = server.client.get("/openapi.json").json()["paths"]["/predict"]["post"]["requestBody"]["content"]
    example = content[JSON]["example"]
    assert example == {"rows": example_rows(described)}
    answer = server.post(json.dumps(example))
    assert answer.status_code == 200, answer.text
    jsonschema_rs.validate(answer_schema(described), answer.json())
    assert answer.json()["predictions"][0] is not None
    answer = server.post(content[CSV]["example"], CSV)
    assert answer.status_code == 200, answer.text
    assert f"{described['target_names'][0]}_predicted" in answer.text.splitlines()[0]


@pytest.mark.parametrize("name", ["houses", "pets", "images", "series"])
def test_the_page_and_what_it_asks_for_are_all_of_this_server(servers, name):
    _, server = servers[name]
    page = server.client.get("/")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert server.client.get("/docs").text == page.text
    assert "http:" not in page.text
    assert "https:" not in page.text
    for path in ("/metadata", "/health", "/metrics", "/openapi.json"):
        assert server.client.get(path).status_code == 200
    described = read_metadata(servers[name][0])
    del described["config"]
    assert server.client.get("/metadata").json() == described | {"run": "version_0"}
    assert server.client.get("/health").json()["artifact"] == servers[name][0].name


def test_the_page_names_the_address_of_predictions_wherever_it_is():
    """As urljoin resolves it, which browsers do alike."""
    page = Path(pages.__file__).with_name("page.html").read_text()
    assert "location.pathname" not in page
    assert page.count("curl ${address()}") == 2
    [(relative, base)] = re.findall(r'const address = \(\) => new URL\("(.*)", location\.(\w+)\)\.href;', page)
    assert base == "href"
    for address, found in [
        ("http://a:1/", "http://a:1/predict"),
        ("http://a:1/docs", "http://a:1/predict"),
        ("http://a:1/docs?x=1#y", "http://a:1/predict"),
        ("https://a/model/", "https://a/model/predict"),
        ("https://a/model/docs", "https://a/model/predict"),
    ]:
        assert urljoin(address, relative) == found


@pytest.mark.parametrize("run", ["/home/alice/runs/version_3", r"C:\Users\alice\version_3", "../x/version_3"])
def test_nothing_published_names_a_folder_of_the_machine_that_trained(tmp_path, run):
    described = metadata(["a"], ["y"], run=run, config="data:\n  path: s3://KEY:SECRET@alice/table.csv\n")
    with running(write_linear(tmp_path / "model.onnx", [[1.0]], [0.0], described)) as server:
        for path in ("/", "/docs", "/metadata", "/health", "/metrics", "/openapi.json"):
            text = server.client.get(path).text
            assert not re.search(r"alice|SECRET|\.\./x", text)
            assert str(tmp_path) not in text
        assert server.client.get("/health").json() == {"status": "ok", "artifact": "model.onnx", "run": "version_3"}
