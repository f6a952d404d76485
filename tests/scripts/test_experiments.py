"""Every experiment trains, resumes and evaluates; slow tests check that it reaches the score in its header."""

import json
import os
import random
import re

import numpy as np
import pytest
import torch

from project.inference.evaluate import evaluate
from project.runs.checkpoint import read_checkpoint
from project.training.cli import ExperimentCLI
from project.training.report import exact_metrics
from project.training.train import train
from tests.command import REPOSITORY, train_on

GOLDEN = REPOSITORY / "tests/scripts/golden_losses.json"
EXPERIMENTS = sorted((REPOSITORY / "scripts/experiments").glob("*.yaml"))
QUIET = ["--epoch_line.every_n_epochs", "0"]
# Their short trainings are similar to others, and slow tests.
SIMILAR = ("diabetes", "digits_linear", "digits_lstm", "mlp", "mnist5k_cnn", "seq2seq", "series_gru", "series_rnn")
SIMILAR += ("series_lstm", "series_transformer", "table", "gpt_bytes", "gpt_kjv", "gpt_markov", "gpt_shakespeare")
EVERY = pytest.mark.parametrize("path", EXPERIMENTS, ids=lambda path: path.stem)


@pytest.fixture
def experiments(folder, request):
    """Create the files that an experiment reads, with the commands in its header; return the folder."""
    path = request.node.callspec.params["path"]
    sources = [path, path.with_name("diabetes.yaml")]  # whose file others use, too
    for command in re.findall(r'python -c "(.*)"', "".join(source.read_text() for source in sources)):
        try:
            exec(command, {})
        except ModuleNotFoundError as error:
            pytest.skip(f"{error.name} is not installed")
    draw = random.Random(0)
    words = ["".join(draw.choices("abcdefghij", k=draw.randint(2, 8))) for _ in range(2_000)]
    (folder / "tinyshakespeare.txt").write_text(" ".join(draw.choices(words, k=60_000)))
    return folder


@EVERY
def test_the_header_shows_command_time_and_score(path):
    header = re.match(r"(#.*\n)+", path.read_text())[0]
    assert f"python scripts/train.py --config scripts/experiments/{path.name}" in header
    assert re.search(r"Takes \d+ s on two cores", header)
    assert re.search(r"Expect (\S+) at (most|least) ([\d.e-]+)", header)


@pytest.mark.figures
@pytest.mark.parametrize(
    "path",
    [pytest.param(path, marks=pytest.mark.slow if path.stem in SIMILAR else []) for path in EXPERIMENTS],
    ids=lambda path: path.stem,
)
def test_two_epochs_are_reproducible_and_can_be_resumed_and_evaluated(path, experiments, capsys):
    args = ["--config", str(path), *QUIET, "--trainer.limit_train_batches", "6", "--trainer.max_epochs"]
    second, first = (train([*args, epochs])["train/loss"] for epochs in ("2", "1"))
    compare_with_golden(path.stem, [first, second])
    train(["--ckpt_path", "lightning_logs/version_1", "--trainer.max_epochs", "2"])
    whole, resumed = (
        read_checkpoint(experiments / f"lightning_logs/version_{n}/checkpoints/last.ckpt")["state_dict"] for n in (0, 1)
    )
    assert all(value.equal(resumed[name]) for name, value in whole.items())
    found, rows = evaluate("lightning_logs/version_0")
    written = json.loads((experiments / "lightning_logs/version_0/metrics.json").read_text())
    assert found == pytest.approx({name: written[name] for name in found})
    assert rows > 0


def compare_with_golden(name, losses):
    """Compare the losses of the first two epochs (six batches each) with the stored ones."""
    golden = json.loads(GOLDEN.read_text()) if GOLDEN.exists() else {}
    if os.environ.get("UPDATE_GOLDEN"):
        golden[name] = losses
        GOLDEN.write_text(json.dumps(dict(sorted(golden.items())), indent=2) + "\n")
    assert losses == pytest.approx(golden[name], rel=1e-3), "changed; set UPDATE_GOLDEN=1 if that is intended"


@pytest.mark.slow
def test_metrics_keep_their_precision_with_mixed_precision(folder, capsys):
    rows = "".join(f"{i % 7},{1000 + i % 7 + 0.1 * (i % 3)}\n" for i in range(300))
    (folder / "t.csv").write_text("a,y\n" + rows)
    args = ["--data", "TabularDataModule", "--data.path", "t.csv", "--data.target", "y", *QUIET]
    args += ["--optimizer.lr", "0.1", "--trainer.max_epochs", "20"]
    full, mixed = (
        train([*args, "--trainer.precision", precision])["test/mse"] for precision in ("32-true", "bf16-mixed")
    )
    assert mixed == pytest.approx(full, rel=0.1)


@pytest.mark.slow
def test_a_net_with_batch_norm_trains_on_two_processes(folder):
    config = REPOSITORY / "scripts/experiments/digits_cnn.yaml"
    done = train_on(folder, 2, "--config", config, "--trainer.max_epochs", 2)
    assert [rank.returncode for rank in done] == [0, 0], done[0].stderr
    assert json.loads((folder / "lightning_logs/version_0/metrics.json").read_text())["test/accuracy"] > 0.8


@pytest.mark.parametrize(
    "aid",
    [
        ["--trainer.callbacks", "EMAWeightAveraging", "--trainer.callbacks.decay", "0.95"],
        ["--lr_scheduler", "OneCycleLR", "--lr_scheduler.max_lr", "0.01", "--lr_scheduler.total_steps", "3"],
        *(
            pytest.param(aid, marks=pytest.mark.slow)
            for aid in (
                ["--trainer.gradient_clip_val", "0.5"],
                ["--trainer.precision", "bf16-mixed"],
                ["--trainer.accumulate_grad_batches", "4"],
                ["--trainer.callbacks", "LearningRateFinder", "--trainer.callbacks.min_lr", "1e-4"],
                ["--lr_scheduler", "ReduceLROnPlateau", "--lr_scheduler.monitor", "val/loss"],
                ["--model.compile", "true"],  # a minute of compiling
            )
        ),
    ],
    ids=lambda aid: aid[1] if len(aid) > 2 else aid[0],
)
def test_trainer_options_work_and_the_saved_weights_are_the_tested_ones(folder, capsys, aid):
    config = str(REPOSITORY / "scripts/experiments/digits_cnn.yaml")
    metrics = train(["--config", config, *QUIET, "--trainer.max_epochs", "3", *aid])
    assert metrics["test/accuracy"] > 0.9
    assert evaluate("last")[0]["test/accuracy"] == pytest.approx(metrics["test/accuracy"], abs=0.003)


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ("--model.net CNN", "CNN: rows must be images"),
        ("--model.net RNN", "RNN: rows must be sequences"),
        ("--model Regression --data DigitsDataModule", "use --model Classification"),
        ("--trainer.precision bf16-true", "use bf16-mixed"),
        ("--model Classification", "--data.task classification"),
        ("--data SeriesDataModule --model.net Transformer --model.net.heads 3", "width must be a multiple of heads"),
    ],
)
def test_a_net_that_does_not_fit_the_data_is_refused_before_training(folder, args, message):
    from project.runtime.errors import UserError

    with pytest.raises(UserError, match=message):
        train(args.split())
    assert not list(folder.glob("lightning_logs/*"))


@pytest.mark.slow
@EVERY
def test_the_score_in_the_header_is_reached(path, experiments, capsys):
    metric, bound, value = re.search(r"Expect (\S+) at (most|least) ([\d.e-]+\d)", path.read_text()).groups()
    args = ["--config", str(path), *QUIET]
    if path.stem == "gpt_shakespeare":
        if "TINY_SHAKESPEARE" not in os.environ:
            pytest.skip("needs the path of tiny Shakespeare")
        args += ["--data.path", os.environ["TINY_SHAKESPEARE"]]
    found = train(args)[metric]
    assert found <= float(value) if bound == "most" else found >= float(value)


def reference(name, data, seed):
    from sklearn.linear_model import LogisticRegression
    from sklearn.neural_network import MLPRegressor
    from sklearn.svm import SVC

    (x, y), (test_x, test_y) = (
        (rows.x.flatten(1).numpy(), rows.y.numpy()) for rows in (data.splits.train, data.splits.test)
    )
    if name == "mlp":
        peer = MLPRegressor(hidden_layer_sizes=(64, 64), random_state=seed).fit(x, y[:, 0])
        return np.mean((peer.predict(test_x) - test_y[:, 0]) ** 2)
    if name == "seq2seq":
        return exact_metrics(data, data.least_squares)["test/mse"]
    peer = SVC(gamma=0.001) if name == "digits_cnn" else LogisticRegression(max_iter=5_000)
    return peer.fit(x, y).score(test_x, test_y)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "metric", "holds"),
    [
        ("digits_cnn", "test/accuracy", lambda ours, theirs: ours >= theirs - 0.003),
        ("digits_linear", "test/accuracy", lambda ours, theirs: abs(ours - theirs) <= 0.005),
        ("mlp", "test/mse", lambda ours, theirs: ours <= theirs),
        ("seq2seq", "test/mse", lambda ours, theirs: ours <= 1.02 * theirs),
        *(
            (f"series_{cell}", "test/mse", lambda ours, _: ours <= 1.05)
            for cell in ("rnn", "lstm", "gru", "transformer")
        ),
    ],
)
def test_mean_scores_over_five_seeds_match_the_reference(name, metric, holds, folder, capsys):
    ours, theirs = [], []
    for seed in map(str, range(5)):
        args = ["--config", str(REPOSITORY / f"scripts/experiments/{name}.yaml"), *QUIET]
        args += ["--seed_everything", seed, "--data.seed", seed, "--trainer.logger", "false"]
        ours.append(train(args)[metric])
        data = ExperimentCLI(args).datamodule
        theirs.append(1.0 if name.startswith("series") else reference(name, data, int(seed)))
    with capsys.disabled():
        print(f"\n{name}: {metric} {np.mean(ours):.4f}, reference {np.mean(theirs):.4f}")
    assert holds(np.mean(ours), np.mean(theirs))


@pytest.mark.slow
def test_compiled_and_plain_nets_share_checkpoints(folder, capsys):
    metrics = train(["--model.compile", "true", "--trainer.max_epochs", "2", *QUIET])
    assert evaluate("last")[0]["test/mse"] == pytest.approx(metrics["test/mse"])
    state = read_checkpoint(folder / "lightning_logs/version_0/checkpoints/last.ckpt")["state_dict"]
    assert "net.net.linear.weight" in state
    assert isinstance(state["net.net.linear.weight"], torch.Tensor)
