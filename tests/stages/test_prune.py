"""Pruning that sets weights to zero: exactly as many as asked for, in a run that is like any other."""

from pathlib import Path

import numpy as np
import pytest
from lightning.pytorch import Callback

from project.inference.evaluate import evaluate
from project.runs.checkpoint import read_checkpoint
from project.runtime.errors import UserError
from project.stages.finetune import finetune
from project.stages.prune import prune
from project.training.train import train
from tests.scripts.test_exact_resume import stop_at
from tests.stages.pruning import SMALL, TABLE, config, run, same, state, weights, zeros

pytestmark = pytest.mark.usefixtures("hurried")


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


@pytest.mark.slow
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


@pytest.mark.slow
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


@pytest.mark.parametrize("way", [pytest.param({"sparsity": 0.8}, marks=pytest.mark.slow), {"structured": 0.5}])
def test_training_its_configuration_again_reproduces_the_run(mlp, way):
    metrics = prune(mlp, **way)
    again = train(["--config", f"{run(1)}/config.yaml"])
    assert same(state(1), state(2))
    assert again["test/loss"] == metrics["test/loss"]


@pytest.mark.slow
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


@pytest.mark.slow
def test_figures_are_of_the_nets_themselves(mlp):
    metrics = prune(mlp, sparsity=0.8)
    assert metrics["unpruned/parameters"] == metrics["pruned/parameters"] == 78 + 8 + 6 + 1
    assert metrics["pruned/nonzero"] == metrics["pruned/parameters"] - round(0.8 * 78)
    assert metrics["pruned/bytes"] == metrics["unpruned/bytes"]
    assert metrics["pruned/gzip_bytes"] < metrics["unpruned/gzip_bytes"]
    assert metrics["unpruned/test/mse"] == pytest.approx(evaluate(mlp)[0]["test/mse"])


ONE_FRACTION = "set either --sparsity .* or --structured .*, a fraction above 0 and below 1"


@pytest.mark.parametrize(
    ("way", "args", "message"),
    [
        ({}, [], ONE_FRACTION),
        ({"sparsity": 0.5, "structured": 0.5}, [], ONE_FRACTION),
        ({"sparsity": 0.5}, ["--pruning.sparsity", "0.9"], "--pruning.sparsity: use --sparsity instead"),
        ({"structured": 0.5}, ["--pruning.epochs", "3"], "--pruning.epochs: has no effect together with --structured"),
        ({"sparsity": 0.5}, ["--weights.path", "last"], "--weights.path: a stage uses the weights of the run"),
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
