import asyncio
import json

import numpy as np
import pytest
from benchmarks import serving
from benchmarks.load import requests_per_second
from benchmarks.suite import OURS

from project.runtime.errors import UserError
from tests.command import run_script
from tests.serving.artifacts import metadata, write_linear


@pytest.fixture(scope="module")
def artifact(tmp_path_factory):
    names = [f"x{number}" for number in range(serving.FEATURES)]
    described = metadata(names, ["y"])
    return write_linear(tmp_path_factory.mktemp("linear") / "a.onnx", np.ones((len(names), 1)), [0.0], described)


def test_ours_is_set_against_a_peer_that_is_asked_the_same(artifact, monkeypatch):
    monkeypatch.setattr(serving, "ROUNDS", 1)
    peer = "scikit-learn in the same server"
    with serving.started(artifact) as ours, serving.started(artifact, serving.PEERS[peer]) as theirs:
        servers = {OURS: ours, peer: theirs}
        [figure] = serving.rates("rows a second", servers, [peer], rows=100, connections=2, seconds=0.2)
        assert figure.value > 100
        assert 0.01 < figure.ratio < 100
        assert figure.to.startswith(peer)
        for server in servers.values():
            assert 0 < server.seconds < 60
            assert 40 * 2**20 < server.memory < 2**30
    assert not serving.answers(ours.port)
    assert not serving.answers(theirs.port)


def test_the_load_is_bounded_in_time_and_counts_answers(artifact):
    with serving.started(artifact) as server:
        rate = asyncio.run(requests_per_second(server.port, 3, 0.3, serving.rows_in_json(1)))
        assert rate > 3
        with pytest.raises(RuntimeError, match="422"):
            asyncio.run(requests_per_second(server.port, 1, 0.3, b'{"rows": 1}'))


def test_rows_are_the_same_each_time():
    assert serving.rows_in_json(3) == serving.rows_in_json(3)
    assert np.shape(json.loads(serving.rows_in_json(3))["rows"]) == (3, serving.FEATURES)


def test_a_server_that_does_not_start_is_told(artifact):
    with pytest.raises(UserError, match="does not start"), serving.started(artifact, ["project.runtime.errors"]):
        pass


def test_what_is_missing_is_told(monkeypatch):
    monkeypatch.setattr(serving.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(UserError, match="pip install litserve"):
        next(serving.serving(quick=True))


def test_the_command_knows_both(folder):
    assert "{training,serving}" in run_script(folder, "benchmark", "--help").stdout
    done = run_script(folder, "benchmark", "serving", "--plot", "a.png")
    assert (done.returncode, done.stderr) == (2, "error: --plot: only training is drawn: leave it out\n")
