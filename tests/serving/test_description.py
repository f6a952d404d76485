import json
import subprocess
import sys
from pathlib import Path

import jsonschema_rs
import pytest

from project.serving.description import answer_schema, example_rows
from project.serving.metadata import read_metadata
from project.serving.model import CSV, JSON
from tests.serving.running import MAX_LENGTH


@pytest.mark.parametrize("name", ["houses", "pets", "images", "series"])
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
    assert server.client.get("/metadata").json() == read_metadata(servers[name][0])
