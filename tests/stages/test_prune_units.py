"""Pruning that removes units: the run is like any other, and smaller."""

import json
import time
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

from project.inference.evaluate import evaluate
from project.runs.checkpoint import load_model, read_checkpoint
from project.runs.folder import find_checkpoint
from project.runtime.errors import UserError
from project.stages.distill import distill
from project.stages.ensemble import combine
from project.stages.finetune import finetune
from project.stages.prune import prune
from project.training.train import train
from tests.command import REPOSITORY
from tests.stages.pruning import QUIET, SMALL, TABLE, config, run, state
from tests.trained import trained

pytestmark = pytest.mark.usefixtures("hurried")

SERIES = [
    "--data",
    "SeriesDataModule",
    "--data.rows",
    "200",
    "--optimizer",
    "Adam",
    "--trainer.max_epochs",
    "1",
    *QUIET,
]
DIGITS = ["--config", str(REPOSITORY / "scripts/experiments/digits_cnn.yaml"), "--model.net.channels", "[4, 8]"]
DIGITS += ["--model.net.hidden", "8", *QUIET, "--trainer.limit_train_batches", "4", "--trainer.max_epochs", "1"]
LSTM = ["--model.net", "RNN", "--model.net.hidden", "6", "--model.net.layers", "2", "--model.net.bidirectional", "true"]
KINDS = {
    "MLP": (TABLE, {"hidden": [4, 3]}),
    "CNN": (DIGITS, {"channels": [2, 4], "hidden": 4}),
    "RNN": ([*SERIES, *LSTM], {"hidden": 3}),
    "Transformer": ([*SERIES, "--model.net", "Transformer", "--model.net.width", "8"], None),
    "EncoderDecoder": ([*SERIES, "--model.net", "EncoderDecoder", "--model.net.width", "8"], None),
}


def net_of(number):
    return load_model(read_checkpoint(find_checkpoint(run(number)))).net.net


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=pytest.mark.slow) if name != "CNN" else name for name in KINDS],
)
def test_units_go_from_every_net_and_the_run_is_like_any_other(folder, capsys, name):
    args, arguments = KINDS[name]
    trained(args)
    metrics = prune(run(0), structured=0.5)
    net = config(1)["model"]["init_args"]["net"]
    if arguments is None:
        assert net["class_path"] == "project.nets.Pruned"
        assert all(module.heads == 2 for module in net_of(1).modules() if hasattr(module, "heads"))
    else:
        assert net["class_path"] == f"project.nets.{name}"
        assert net["init_args"] | arguments == net["init_args"]
    assert type(net_of(1)) is type(net_of(0))
    found = sum(parameter.numel() for parameter in net_of(1).parameters())
    assert metrics["parameters"] == metrics["pruned/parameters"] == found < metrics["unpruned/parameters"]
    tested, _ = evaluate(run(1))
    assert tested == pytest.approx({key: metrics[key] for key in tested})
    assert json.loads(Path(run(1), "metrics.json").read_text()) == metrics


@pytest.mark.slow
@pytest.mark.parametrize("name", ["CNN", "Transformer"])
def test_every_other_stage_takes_a_run_with_fewer_units(folder, capsys, name):
    trained(KINDS[name][0])
    before = prune(run(0), structured=0.5)
    finetune(run(1), args=["--trainer.max_epochs", "1"])
    finetune(run(1), lora=1, args=["--trainer.max_epochs", "1"])
    assert type(net_of(3)) is type(net_of(0))
    again = prune(run(3), structured=0.4)
    assert again["pruned/parameters"] < again["unpruned/parameters"] == before["pruned/parameters"]
    distill(run(4), args=["--trainer.max_epochs", "1"])
    combine([run(1), run(4)])
    tested, _ = evaluate(run(6))
    assert np.isfinite(tested["test/loss"])


def test_the_least_important_units_go_before_training(mlp):
    prune(run(0), structured=0.5, args=["--trainer.max_epochs", "0"])
    before, after = state(0), state(1)
    first, second = before["net.net.layers.1.weight"], before["net.net.layers.4.weight"]
    norms = first.square().sum(1) + before["net.net.layers.1.bias"].square() + second.square().sum(0)
    kept = norms.argsort()[4:].sort().values
    assert after["net.net.layers.1.weight"].equal(first[kept])
    assert after["net.features.mean"].equal(before["net.features.mean"])


@pytest.mark.slow
def test_ensembles_of_runs_are_pruned_member_by_member(folder, capsys):
    for seed in ("0", "1"):
        train([*TABLE, "--seed_everything", seed])
    combine([run(0), run(1)])
    metrics = prune(run(2), structured=0.5, args=["--trainer.max_epochs", "2"])
    assert len(net_of(3).members) == 2
    assert metrics["pruned/parameters"] == 2 * (3 * 4 + 4 + 4 * 3 + 3 + 3 + 1)
    sparse = prune(run(2), sparsity=0.5, args=["--trainer.max_epochs", "2"])
    assert sparse["unpruned/parameters"] - sparse["pruned/nonzero"] >= 78


@pytest.mark.slow
def test_a_net_of_the_users_own_is_pruned_where_its_sizes_are_free(folder, capsys):
    Path("prunable.py").write_text(
        "from torch import nn\nfrom project.nets import Net\n\nclass Own(Net):\n"
        "    def __init__(self, in_shape, out_features):\n"
        "        super().__init__(in_shape, out_features)\n"
        "        self.first, self.second = nn.Linear(*in_shape, 8), nn.Linear(8, 6)\n"
        "        self.skip, self.head = nn.Linear(6, 6), nn.Linear(6, out_features)\n"
        "    def forward(self, x):\n"
        "        x = self.second(self.first(x).relu())\n"
        "        return self.head(x + self.skip(x).relu())\n"
    )
    trusted = ["--trust", "prunable"]
    args = [*SMALL, "--data.features", "3", "--trainer.max_epochs", "2", *trusted, "--model.net", "prunable.Own"]
    train(args)
    prune(run(0), structured=0.5, args=trusted)
    assert config(1)["model"]["init_args"]["net"]["init_args"]["units"] == {"first": 4}
    evaluate(run(1), trusted)
    prune(run(1), sparsity=0.5, args=trusted)
    evaluate(run(2), trusted)
    with pytest.raises(UserError, match="pass --trust prunable"):
        prune(run(0), structured=0.5)


@pytest.mark.slow
def test_the_run_before_is_measured_on_the_rows_that_the_pruned_one_is(mlp):
    args = ["--data.seed", "5", "--trainer.max_epochs", "1"]
    metrics = prune(mlp, structured=0.5, args=args)
    assert metrics["unpruned/test/mse"] == pytest.approx(evaluate(mlp, ["--data.seed", "5"])[0]["test/mse"])


@pytest.mark.slow
def test_figures_of_half_the_channels_over_five_seeds(folder, capsys):
    args = ["--config", str(REPOSITORY / "scripts/experiments/digits_cnn.yaml"), *QUIET]
    accuracy = {"unpruned": [], "half the channels": [], "80 % zeros": []}
    for number, seed in enumerate(map(str, range(5))):
        source = run(3 * number)
        accuracy["unpruned"].append(train([*args, "--seed_everything", seed, "--data.seed", seed])["test/accuracy"])
        accuracy["half the channels"].append(prune(source, structured=0.5)["test/accuracy"])
        accuracy["80 % zeros"].append(prune(source, sparsity=0.8)["test/accuracy"])
    means = {name: np.mean(values) for name, values in accuracy.items()}
    speeds = {threads: speed_in_onnx_runtime(net_of(12), net_of(13), threads) for threads in (1, 2)}
    with capsys.disabled():
        print("\ntest accuracy:", ", ".join(f"{name} {value:.4f}" for name, value in means.items()))
        for threads, (before, after) in speeds.items():
            print(
                f"64 images, ONNX Runtime, threads {threads}: {before:.3f} ms, {after:.3f} ms: {before / after:.1f} x"
            )
    assert means["half the channels"] > means["unpruned"] - 0.01
    assert means["80 % zeros"] > means["unpruned"] - 0.01
    before, after = speeds[1]  # two threads share out what little there is
    assert before > 2 * after


def speed_in_onnx_runtime(before, after, threads, rounds=2_000):
    """Milliseconds for 64 images of two nets, medians, taken in turn."""
    sessions, options, times = [], onnxruntime.SessionOptions(), ([], [])
    options.intra_op_num_threads = threads
    x = torch.randn(64, *before.in_shape)
    for net in (before, after):
        program = torch.onnx.export(net, (x,), dynamo=True, verbose=False)
        sessions.append(onnxruntime.InferenceSession(program.model_proto.SerializeToString(), options))
    for _ in range(rounds):
        for session, found in zip(sessions, times, strict=True):
            start = time.perf_counter()
            session.run(None, {session.get_inputs()[0].name: x.numpy()})
            found.append(1_000 * (time.perf_counter() - start))
    return [float(np.median(found)) for found in times]
