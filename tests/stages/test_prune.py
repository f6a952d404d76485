"""Pruned runs: exact zeros or fewer units, in runs that are like any other."""

import json
import time
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
import yaml
from lightning.pytorch import Callback

from project.inference import compare
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
from tests.scripts.test_exact_resume import stop_at
from tests.trained import trained

QUIET = ["--epoch_line.every_n_epochs", "0"]
SMALL = ["--data.rows", "60", "--data.val_rows", "20", "--data.test_rows", "20", "--data.batch_size", "20", *QUIET]
TABLE = [*SMALL, "--data.features", "3", "--optimizer", "Adam", "--optimizer.lr", "0.01", "--trainer.max_epochs", "6"]
TABLE += ["--model.net", "MLP", "--model.net.hidden", "[8, 6]"]
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


@pytest.fixture(autouse=True)
def hurried(monkeypatch):
    """Nobody reads how fast these nets are."""
    monkeypatch.setattr(compare, "ROUNDS", 1)


def run(number):
    return f"lightning_logs/version_{number}"


def state(number, name="best"):
    return read_checkpoint(Path(run(number), "checkpoints", f"{name}.ckpt"))["state_dict"]


def config(number):
    return yaml.safe_load(Path(run(number), "config.yaml").read_text())


def weights(state):
    """All weight matrices as one vector: of an MLP, whose biases are its other parameters."""
    return np.concatenate([value.flatten().numpy() for name, value in state.items() if value.ndim > 1])


def zeros(number, name="best"):
    return int((weights(state(number, name)) == 0).sum())


def same(a, b):
    return a.keys() == b.keys() and all(value.equal(b[name]) for name, value in a.items())


@pytest.fixture
def mlp(folder, capsys):
    """A run of an MLP with 3 x 8 + 8 x 6 + 6 = 78 weights."""
    return trained(TABLE)


class ZerosByEpoch(Callback):
    def __init__(self):
        self.zeros = []

    def on_train_epoch_end(self, trainer, pl_module):
        self.zeros.append(int((weights(pl_module.state_dict()) == 0).sum()))


def test_checkpoints_hold_plain_weights_with_exactly_as_many_zeros(mlp):
    prune(mlp, sparsity=0.8)
    assert zeros(0) == 0
    assert zeros(1) == zeros(1, "last") == round(0.8 * 78)
    assert state(1).keys() == state(0).keys()
    sizes = [Path(run(number), "checkpoints/last.ckpt").stat().st_size for number in (0, 1)]
    assert sizes[1] < 1.1 * sizes[0]


def test_without_training_the_smallest_weights_of_all_layers_become_zero_and_no_other_changes(mlp):
    prune(mlp, sparsity=0.5, args=["--trainer.max_epochs", "0"])
    before, after = weights(state(0)), weights(state(1))
    limit = np.median(np.abs(before))
    np.testing.assert_array_equal(after, np.where(np.abs(before) > limit, before, 0))


def test_zeros_come_by_a_cubic_schedule_and_stay(mlp):
    counter = ZerosByEpoch()
    train([*TABLE, "--weights.path", mlp, "--pruning.sparsity", "0.8", "--pruning.epochs", "4"], [counter])
    assert counter.zeros == [round(78 * 0.8 * (1 - left**3)) for left in (3 / 4, 2 / 4, 1 / 4, 0, 0, 0)]


def test_the_best_checkpoint_is_one_of_full_sparsity(mlp):
    rising = ["--optimizer.lr", "1e-9", "--pruning.epochs", "5"]  # the less is pruned, the better
    prune(mlp, sparsity=0.9, args=rising)
    assert zeros(1) == round(0.9 * 78)
    assert read_checkpoint(Path(run(1), "checkpoints/best.ckpt"))["epoch"] >= 4


def test_early_stopping_counts_from_full_sparsity(mlp):
    stopping = ["--trainer.callbacks", "EarlyStopping", "--trainer.callbacks.monitor", "val/loss"]
    args = [*stopping, "--trainer.callbacks.patience", "1", "--optimizer.lr", "0", "--pruning.epochs", "4"]
    prune(mlp, sparsity=0.9, args=args)
    assert zeros(1) == round(0.9 * 78)
    loops = read_checkpoint(Path(run(1), "checkpoints/last.ckpt"))["loops"]
    assert loops["fit_loop"]["epoch_progress"]["current"]["processed"] == 5


def test_training_that_ends_too_early_is_an_error(mlp):
    with pytest.raises(UserError, match=r"training ended at a sparsity of 0\..*, before epoch 3; train longer"):
        prune(mlp, sparsity=0.8, args=["--trainer.max_steps", "4"])


def test_several_steps_in_one_are_the_same_steps(mlp):
    prune(mlp, sparsity=0.8)
    prune(mlp, sparsity=0.8, args=["--trainer.max_steps", "1000"])  # which has Lightning take single ones
    assert same(state(1), state(2))


@pytest.mark.parametrize("steps", [(6,), pytest.param((4, 11), marks=pytest.mark.slow)])
def test_a_pruning_stopped_at_any_epoch_ends_as_the_uninterrupted_one(mlp, monkeypatch, steps):
    args = ["--trainer.max_steps", "1000", "--pruning.epochs", "5"]
    prune(mlp, sparsity=0.3, args=args)
    for number, step in enumerate(steps, start=2):
        with monkeypatch.context() as patch:
            stop_at(patch, step)
            with pytest.raises(SystemExit):
                prune(mlp, sparsity=0.3, args=args)
        train(["--ckpt_path", run(number)])
        assert same(state(1), state(number))
        assert same(state(1, "last"), state(number, "last"))


@pytest.mark.parametrize("way", [{"sparsity": 0.8}, {"structured": 0.5}])
def test_training_its_configuration_again_reproduces_the_run(mlp, way):
    metrics = prune(mlp, **way)
    again = train(["--config", f"{run(1)}/config.yaml"])
    assert same(state(1), state(2))
    assert again["test/loss"] == metrics["test/loss"]


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow) if name in ("RNN", "Transformer") else name for name in KINDS]
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


def net_of(number):
    return load_model(read_checkpoint(find_checkpoint(run(number)))).net.net


def test_the_least_important_units_go_before_training(mlp):
    prune(run(0), structured=0.5, args=["--trainer.max_epochs", "0"])
    before, after = state(0), state(1)
    first, second = before["net.net.layers.1.weight"], before["net.net.layers.4.weight"]
    norms = first.square().sum(1) + before["net.net.layers.1.bias"].square() + second.square().sum(0)
    kept = norms.argsort()[4:].sort().values
    assert after["net.net.layers.1.weight"].equal(first[kept])
    assert after["net.features.mean"].equal(before["net.features.mean"])


def test_ensembles_of_runs_are_pruned_member_by_member(folder, capsys):
    for seed in ("0", "1"):
        train([*TABLE, "--seed_everything", seed])
    combine([run(0), run(1)])
    metrics = prune(run(2), structured=0.5, args=["--trainer.max_epochs", "2"])
    assert len(net_of(3).members) == 2
    assert metrics["pruned/parameters"] == 2 * (3 * 4 + 4 + 4 * 3 + 3 + 3 + 1)
    sparse = prune(run(2), sparsity=0.5, args=["--trainer.max_epochs", "2"])
    assert sparse["unpruned/parameters"] - sparse["pruned/nonzero"] >= 78


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


def test_fine_tuning_keeps_zeros_and_adapters_fill_them(mlp):
    prune(mlp, sparsity=0.8)
    finetune(run(1), args=["--optimizer.lr", "0.02", "--trainer.max_epochs", "3"])
    assert zeros(2) == zeros(2, "last") == round(0.8 * 78)
    assert not same(state(1), state(2))
    finetune(run(1), lora=1, args=["--trainer.max_epochs", "2"])
    assert config(3)["pruning"]["sparsity"] == 0
    prune(run(1), structured=0.5)
    left = len(weights(state(4)))
    assert zeros(4) == round(0.8 * left), "fewer units, as sparse as before"


def test_a_linear_net_is_pruned_from_scratch(folder, capsys):
    train([*SMALL, "--data.features", "10", "--pruning.sparsity", "0.5", "--trainer.max_epochs", "4"])
    assert zeros(0) == 5


def test_figures_are_of_the_nets_themselves(mlp):
    metrics = prune(mlp, sparsity=0.8)
    assert metrics["unpruned/parameters"] == metrics["pruned/parameters"] == 78 + 8 + 6 + 1
    assert metrics["pruned/nonzero"] == metrics["pruned/parameters"] - round(0.8 * 78)
    assert metrics["pruned/bytes"] == metrics["unpruned/bytes"]
    assert metrics["pruned/gzip_bytes"] < metrics["unpruned/gzip_bytes"]
    assert metrics["unpruned/test/mse"] == pytest.approx(evaluate(mlp)[0]["test/mse"])


def test_the_run_before_is_measured_on_the_rows_that_the_pruned_one_is(mlp):
    args = ["--data.seed", "5", "--trainer.max_epochs", "1"]
    metrics = prune(mlp, structured=0.5, args=args)
    assert metrics["unpruned/test/mse"] == pytest.approx(evaluate(mlp, ["--data.seed", "5"])[0]["test/mse"])


ONE_FRACTION = "set either --sparsity .* or --structured .*, a fraction above 0 and below 1"


@pytest.mark.parametrize(
    ("way", "args", "message"),
    [
        ({}, [], ONE_FRACTION),
        ({"sparsity": 0.5, "structured": 0.5}, [], ONE_FRACTION),
        ({"sparsity": 0.5}, ["--pruning.sparsity", "0.9"], "--pruning.sparsity: use --sparsity instead"),
        ({"structured": 0.5}, ["--pruning.epochs", "3"], "--pruning.epochs: has no effect together with --structured"),
        ({"sparsity": 0.5}, ["--weights.path", "last"], "--weights.path: a stage takes the weights of the run"),
        ({"sparsity": 0.0}, [], ONE_FRACTION),
        ({"sparsity": 1.0}, [], ONE_FRACTION),
        ({"sparsity": float("nan")}, [], ONE_FRACTION),
        ({"structured": 1.2}, [], ONE_FRACTION),
        ({"structured": 0.95}, [], "a fraction of 0.95 removes all 8 units of layers.1; use a smaller one"),
        ({"structured": 0.01}, [], "a fraction of 0.01 removes no unit from any layer of MLP; use a larger one"),
        ({"sparsity": 0.001}, [], "prunes 0 of the 78 weights that"),
        (
            {"sparsity": 0.5},
            ["--trainer.callbacks", "EMAWeightAveraging"],
            "EMAWeightAveraging: averaged weights are not zero",
        ),
        ({"sparsity": 0.5}, ["--pruning.epochs", "0"], "--pruning.epochs: must be an integer, 1 or more, got 0"),
        ({"structured": 0.5}, ["--model.net", "Transformer"], "Transformer: rows must be sequences"),
        ({"structured": 0.5}, ["--model.net.hidden", "[9, 9]"], "--weights.narrow: .*cannot keep 9 units of layers.1"),
    ],
)
def test_mistakes_end_before_training_and_leave_nothing(mlp, way, args, message):
    with pytest.raises(UserError, match=message) as mistake:
        prune(mlp, **way, args=args)
    assert "\n" not in str(mistake.value)
    assert not Path(run(1)).exists()


def test_nets_without_anything_to_prune_are_refused(folder, capsys):
    train([*SMALL, "--trainer.max_epochs", "1"])
    with pytest.raises(
        UserError, match="Linear has no layer whose units can be removed; prune its weights with --sparsity"
    ):
        prune(run(0), structured=0.5)
    with pytest.raises(UserError, match="prunes 1 of the 1 weights that"):
        prune(run(0), sparsity=0.8)
    Path("model.onnx").write_bytes(b"")
    with pytest.raises(
        UserError, match=r"model.onnx: expected a run, got an exported file; pass the run it was exported from"
    ):
        prune("model.onnx", sparsity=0.5)
    with pytest.raises(UserError, match="no such run"):
        prune("nowhere", sparsity=0.5)
    vectorized = ["--model.net", "Ensemble", "--model.net.nets", '["MLP"]', "--model.net.copies", "2"]
    with pytest.raises(UserError, match="use --model.net.vectorize false"):
        train([*SMALL, "--trainer.max_epochs", "1", *vectorized, "--pruning.sparsity", "0.5"])


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
