"""TensorBoard's reader and its server find curves, figures and hyperparameters in a run."""

import json
import socket
import subprocess
import sys
import urllib.request
from contextlib import suppress

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tests.command import MAX_LENGTH
from tests.scripts.test_stops import wait_for


def read_scalars(run):
    events = EventAccumulator(str(run)).Reload()
    return {tag: [(event.step, event.value) for event in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


def test_curves_have_one_point_per_epoch(default_run):
    run, done = default_run
    curves = read_scalars(run)
    steps = [5 * epoch for epoch in range(1, 101)]
    for tag in (
        "train/loss",
        "val/loss",
        "train/r2",
        "equation/x",
        "equation/x exact",
        "equation/bias",
        "gap/train_mse",
    ):
        assert [step - curves[tag][0][0] for step, _ in curves[tag]] == [step - steps[0] for step in steps], tag
    assert curves["lr-SGD"][0][1] == pytest.approx(0.01)
    assert f"Epoch [100/100], Loss: {curves['train/loss'][-1][1]:.4f}" in done.stdout


def test_learned_weights_converge_to_the_exact_ones(default_run):
    curves = read_scalars(default_run[0])
    distances = [abs(a - b) for (_, a), (_, b) in zip(curves["equation/x"], curves["equation/x exact"], strict=True)]
    assert distances[-1] < 0.01 < 1 < distances[0]


def test_figures_are_drawn_at_the_start_the_middle_and_the_end(default_run):
    images = EventAccumulator(str(default_run[0])).Reload().Images("fit")
    assert [image.step for image in images] == [0, 249, 500]
    assert all(image.encoded_image_string.startswith(b"\x89PNG") and image.width > 500 for image in images)


def test_the_tensorboard_server_shows_curves_and_hyperparameters(default_run):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = subprocess.Popen(
        [sys.executable, "-m", "tensorboard.main", "--logdir", str(default_run[0].parent), "--port", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )

    def ask(path, body=None):
        request = urllib.request.Request(f"http://127.0.0.1:{port}/data/plugin/{path}", data=body)
        request.add_header("Content-Type", "application/json")
        with urllib.request.urlopen(request, timeout=MAX_LENGTH) as answer:
            return json.load(answer)

    def curves_are_served():
        with suppress(OSError):
            return "train/loss" in ask("scalars/tags").get("version_0", {})

    try:
        wait_for(curves_are_served)
        points = ask("scalars/scalars?run=version_0&tag=train%2Floss")
        assert len(points) == 100
        query = {
            "experimentName": "",
            "allowedStatuses": ["STATUS_UNKNOWN", "STATUS_SUCCESS", "STATUS_FAILURE", "STATUS_RUNNING"],
            "colParams": [{"metric": {"group": "", "tag": "test/mse"}}],
            "startIndex": 0,
            "sliceSize": 10,
        }
        [group] = ask("hparams/session_groups", json.dumps(query).encode())["sessionGroups"]
        assert group["hparams"]["optimizer"] == "SGD"
        [metric] = [m for m in group["metricValues"] if m["name"]["tag"] == "test/mse"]
        assert metric["value"] == pytest.approx(1.049, abs=0.01)
    finally:
        server.terminate()
        server.wait()
