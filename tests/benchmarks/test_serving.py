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


@pytest.mark.slow
def test_this_server_and_a_peer_get_the_same_requests(artifact, monkeypatch):
    monkeypatch.setattr(serving, "ROUNDS", 1)
    peer = "scikit-learn in the same server"
    with serving.started(artifact) as ours, serving.started(artifact, serving.PEERS[peer]) as theirs:
        servers = {OURS: ours, peer: theirs}
        [measurement] = serving.rates("rows per second", servers, [peer], rows=100, connections=2, seconds=0.2)
        assert measurement.value > 0
        assert measurement.ratio > 0
        assert measurement.to.startswith(peer)
        for server in servers.values():
            assert server.seconds > 0
            assert 40 * 2**20 < server.memory < 2**30
    assert not serving.responds(ours.port)
    assert not serving.responds(theirs.port)


def test_the_load_generator_stops_in_time_and_counts_responses(artifact):
    with serving.started(artifact) as server:
        rate = asyncio.run(requests_per_second(server.port, 3, 0.3, serving.rows_in_json(1)))
        assert rate > 0
        with pytest.raises(RuntimeError, match="422"):
            asyncio.run(requests_per_second(server.port, 1, 0.3, b'{"rows": 1}'))


def test_the_request_body_is_reproducible():
    assert serving.rows_in_json(3) == serving.rows_in_json(3)
    assert np.shape(json.loads(serving.rows_in_json(3))["rows"]) == (3, serving.FEATURES)


def test_a_server_that_does_not_start_is_reported(artifact):
    with pytest.raises(UserError, match="did not start"), serving.started(artifact, ["project.runtime.errors"]):
        pass


def test_without_litserve_the_error_shows_how_to_install_it(monkeypatch):
    monkeypatch.setattr(serving.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(UserError, match="pip install litserve"):
        next(serving.serving(quick=True))


def test_the_command_offers_training_and_serving_and_plots_only_training(folder):
    assert "{training,gpu,serving,generation,tables,text,processes}" in run_script(folder, "benchmark", "--help").stdout
    done = run_script(folder, "benchmark", "serving", "--plot", "a.png")
    assert (done.returncode, done.stderr) == (2, "error: --plot: only training has a figure; remove it\n")
