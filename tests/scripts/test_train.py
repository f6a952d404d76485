"""`scripts/train.py` as a user runs it."""

import json
import os
import re

import pytest
import torch
from torch import nn

from project.data import SyntheticDataModule
from project.inference.evaluate import evaluate
from project.runs.checkpoint import read_checkpoint
from project.runtime.errors import UserError
from project.training.train import train
from tests.command import REPOSITORY, run_script, train_on
from tests.trained import trained

HELLO = ["--config", str(REPOSITORY / "scripts/experiments/hello.yaml")]
QUIET = ["--epoch_line.every_n_epochs", "0"]


def weights(run, name="last.ckpt"):
    return read_checkpoint(run / "checkpoints" / name)["state_dict"]


def test_the_default_run_learns_3_and_2_and_prints_them(default_run):
    _, done = default_run
    assert len(re.findall(r"^Epoch \[\d+0/100\], Loss: \d\.\d{4}$", done.stdout, re.MULTILINE)) == 10
    assert re.search(r"x\s+│\s+3\.0000 │\s+2\.88\d+ ± 0\.09\d+ │\s+2\.8[78]", done.stdout)
    assert "tensorboard --logdir lightning_logs" in done.stdout
    assert done.stderr == "", "a default run prints no warning"


def test_the_run_folder_has_metrics_and_checkpoints(default_run):
    run, _ = default_run
    metrics = json.loads((run / "metrics.json").read_text())
    expected = {f"{s}/{m}" for s in ("train", "val", "test") for m in ("loss", "mse", "rmse", "mae", "r2")}
    assert set(metrics) == expected | {"gap/train_mse", "seconds/fit", "rows_per_second"}
    assert all(isinstance(value, float) for value in metrics.values())
    assert {path.name for path in (run / "checkpoints").iterdir()} == {
        "best.ckpt",
        "last.ckpt",
        "previous.ckpt",
    }


def test_the_gap_is_the_relative_excess_of_the_training_mse(default_run):
    run, _ = default_run
    rows = SyntheticDataModule().splits.train
    design = torch.cat([torch.ones(100, 1), rows.x], dim=1).double()
    least = torch.linalg.lstsq(design, rows.y.double()).solution
    [best] = ((design @ least - rows.y).square().mean(),)
    state = weights(run)
    standard = (rows.x - state["net.features.mean"]) / state["net.features.std"]
    output = standard @ state["net.net.linear.weight"].T + state["net.net.linear.bias"]
    mse = (output * state["net.targets.std"] + state["net.targets.mean"] - rows.y).double().square().mean()
    gap = json.loads((run / "metrics.json").read_text())["gap/train_mse"]
    assert gap == pytest.approx((mse / best - 1).item(), rel=0.05, abs=1e-7)


@pytest.mark.parametrize("seeds", [range(1), pytest.param(range(1, 20), marks=pytest.mark.slow)])
def test_the_default_run_reaches_the_exact_training_mse_for_20_seeds(folder, capsys, seeds):
    for seed in seeds:
        metrics = train(
            [*QUIET, "--data.seed", str(seed), "--trainer.logger", "false", "--trainer.enable_checkpointing", "false"]
        )
        assert 0 <= metrics["gap/train_mse"] < 1e-3


@pytest.mark.slow
def test_config_yaml_reproduces_the_run_with_any_number_of_threads(default_run, folder):
    run, _ = default_run
    other = "2" if os.environ["OMP_NUM_THREADS"] == "1" else "1"
    again = run_script(folder, "train", "--config", run / "config.yaml", OMP_NUM_THREADS=other)
    assert (again.returncode, again.stderr) == (0, ""), "a new interpreter warns of nothing either"
    state = weights(folder / "lightning_logs/version_0")
    assert all(value.equal(state[name]) for name, value in weights(run).items())


def test_hello_prints_the_losses_of_a_plain_pytorch_loop(folder, capsys):
    def plain_loop():
        rows, net = SyntheticDataModule().splits.train, nn.Linear(1, 1)
        nn.init.zeros_(net.weight)
        nn.init.zeros_(net.bias)
        optimizer, criterion = torch.optim.SGD(net.parameters(), lr=0.01), nn.MSELoss()
        for epoch in range(100):
            loss = criterion(net(rows.x), rows.y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            if (epoch + 1) % 10 == 0:
                yield epoch + 1, loss.item()

    train(HELLO)
    printed = capsys.readouterr().out
    logged = dict(scalars(folder / "lightning_logs/version_0")["train/loss"])
    for epoch, loss in plain_loop():
        assert logged[epoch - 1] == pytest.approx(loss, abs=1e-6)
        assert f"Epoch [{epoch}/100], Loss: {loss:.4f}\n" in printed


def scalars(run):
    from tests.scripts.test_tensorboard import read_scalars

    return read_scalars(run)


def test_two_processes_learn_the_weights_of_one_with_twice_the_batch_size(folder, capsys):
    short = ["--trainer.max_epochs", "20"]
    train([*QUIET, *short])
    done = train_on(folder, 2, *short, "--data.batch_size", 10)
    assert [rank.returncode for rank in done] == [0, 0], done[0].stderr
    assert sorted(path.name for path in (folder / "lightning_logs").iterdir()) == ["version_0", "version_1"]
    assert [rank.stdout.count("Learned equation") for rank in done] == [1, 0]
    runs = [folder / f"lightning_logs/version_{number}" for number in (0, 1)]
    alone, together = map(weights, runs)
    assert all(torch.allclose(alone[name], together[name], atol=1e-6) for name in alone)
    metrics = [json.loads((run / "metrics.json").read_text()) for run in runs]
    assert metrics[1]["test/mse"] == pytest.approx(metrics[0]["test/mse"], abs=1e-6)


@pytest.mark.parametrize(
    "optimizer",
    [
        [
            "LBFGS",
            "--optimizer.line_search_fn",
            "strong_wolfe",
            "--data.batch_size",
            "100",
            "--trainer.max_epochs",
            "5",
        ],
        pytest.param(["Adam", "--optimizer.lr", "0.05"], marks=pytest.mark.slow),
        pytest.param(
            ["SGD", "--optimizer.lr", "0.05", "--lr_scheduler", "StepLR", "--lr_scheduler.step_size", "30"],
            marks=pytest.mark.slow,
        ),
    ],
)
def test_other_optimizers_reach_the_exact_answer(folder, optimizer):
    metrics = train([*QUIET, "--trainer.logger", "false", "--optimizer", *optimizer])
    assert metrics["gap/train_mse"] < 1e-3


def test_a_class_that_replaces_the_default_class_has_its_own_defaults(folder, capsys):
    with pytest.raises(SystemExit):
        train(["--optimizer", "AdamW", "--print_config"])
    printed = capsys.readouterr().out
    assert re.search(r"class_path: torch.optim.AdamW\n\s+init_args:\n\s+lr: 0.001", printed)
    assert re.search(r"weight_decay: 0.01", printed)


@pytest.mark.parametrize("variant", ["raw", "scaled", "constant"])
def test_diabetes_reaches_the_exact_test_mse_from_raw_features(folder, variant):
    import numpy as np
    from sklearn.datasets import load_diabetes
    from sklearn.linear_model import LinearRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    from project.data import TabularDataModule

    data = load_diabetes(scaled=False)
    x = data.data.copy()
    if variant == "scaled":
        x[:, 0] *= 1e6
    if variant == "constant":
        x[:, 1] = 7
    names = ",".join([*data.feature_names, "progression"])
    np.savetxt("diabetes.csv", np.column_stack([x, data.target]), delimiter=",", header=names, comments="")
    with pytest.warns(UserWarning, match="constant") if variant == "constant" else no_warning():
        metrics = train(["--config", str(REPOSITORY / "scripts/experiments/diabetes.yaml"), *QUIET])
    splits = TabularDataModule("diabetes.csv", "progression", test_fraction=0.2).splits
    exact = make_pipeline(StandardScaler(), LinearRegression()).fit(
        splits.train.x.double().numpy(), splits.train.y.double().numpy()
    )
    expected = np.mean((exact.predict(splits.test.x.double().numpy()) - splits.test.y.numpy()) ** 2)
    assert metrics["test/mse"] == pytest.approx(expected, rel=0.005)


def no_warning():
    from contextlib import nullcontext

    return nullcontext()


def test_a_resumed_run_continues_after_its_last_epoch(folder, capsys):
    short = ["--trainer.max_epochs", "3", "--data.rows", "60"]
    train([*short, *QUIET])
    capsys.readouterr()
    train(["--ckpt_path", "last", "--trainer.max_epochs", "5", "--epoch_line.every_n_epochs", "1"])
    printed = capsys.readouterr().out
    assert re.findall(r"Epoch \[(\d)/5\]", printed) == ["4", "5"]
    assert [path.name for path in (folder / "lightning_logs").iterdir()] == ["version_0"], "resuming creates no new run"
    assert "rows: 60" in (folder / "lightning_logs/version_0/config.yaml").read_text(), "its flags still apply"
    with pytest.raises(UserError, match=r"training is complete \(5/5 epochs\); raise --trainer.max_epochs"):
        train(["--ckpt_path", "last"])


@pytest.mark.slow
def test_a_resumed_run_equals_an_uninterrupted_one(folder, capsys):
    args = [*QUIET, "--data.batch_size", "7", "--optimizer.momentum", "0.9", "--trainer.max_epochs"]
    train([*args, "6"])
    train([*args, "3"])
    train(["--ckpt_path", "last", "--trainer.max_epochs", "6"])
    whole, resumed = (weights(folder / f"lightning_logs/version_{version}") for version in (0, 1))
    assert all(value.equal(resumed[name]) for name, value in whole.items())


@pytest.mark.slow
def test_a_moved_run_that_is_resumed_keeps_its_best_checkpoint(folder, capsys):
    flags = ["--optimizer", "Adam", "--optimizer.lr", "0.05", *QUIET]
    train([*flags, "--trainer.max_epochs", "30"])
    (folder / "lightning_logs/version_0").rename(folder / "lightning_logs/version_7")
    best = folder / "lightning_logs/version_7/checkpoints/best.ckpt"
    before = read_checkpoint(best)["epoch"]
    assert before < 29, "this test needs a best epoch before the last one"
    train(["--ckpt_path", "lightning_logs/version_7", "--trainer.max_epochs", "31"])
    assert read_checkpoint(best)["epoch"] == before


@pytest.mark.parametrize("change", ["--optimizer.lr=0.5", "--data.rows=50", "--seed_everything=3", "--model.net=MLP"])
def test_a_resumed_run_refuses_changed_settings(folder, capsys, change):
    trained([*QUIET, "--trainer.max_epochs", "2"])
    with pytest.raises(
        UserError, match=rf"{change.split('=')[0]}: a resumed run keeps its \S+, got {change.split('=')[1]}"
    ):
        train(["--ckpt_path", "last", "--trainer.max_epochs", "4", change])


def test_the_error_of_a_diverging_run_shows_the_epoch_and_a_fix(folder, capsys):
    with pytest.raises(
        UserError, match=r"--optimizer.lr 1e\+30: training diverges, the loss is (nan|inf) in epoch 1, batch 2;"
    ):
        train(["--optimizer.lr", "1e30"])
    assert not list(folder.glob("lightning_logs/*"))


def test_a_run_of_a_few_steps_is_complete(folder, capsys):
    metrics = train(["--trainer.max_steps", "3"])
    assert metrics["test/mse"] > 0
    with pytest.raises(UserError, match=r"training is complete \(3/3 steps\); raise --trainer.max_steps"):
        train(["--ckpt_path", "last"])


def test_steps_after_the_last_epoch_are_tested_if_validation_finds_them_better(folder, capsys):
    limit = ["--trainer.max_steps", "6", "--data.batch_size", "25"]  # of 4 steps an epoch
    metrics = train(limit)
    run = folder / "lightning_logs/version_0"
    assert read_checkpoint(run / "checkpoints/best.ckpt")["global_step"] == 6
    assert read_checkpoint(run / "checkpoints/best-epoch.ckpt")["global_step"] == 4
    assert evaluate(str(run))[0]["test/mse"] == pytest.approx(metrics["test/mse"])
    train(["--ckpt_path", "last", "--trainer.max_steps", "8"])
    assert {path.name for path in (run / "checkpoints").iterdir()} == {"best.ckpt", "last.ckpt", "previous.ckpt"}


def test_early_stopping_says_when_and_why_it_ended_training(folder, capsys):
    stopping = ["--trainer.callbacks", "EarlyStopping", "--trainer.callbacks.monitor", "val/loss"]
    train([*stopping, "--trainer.callbacks.patience", "1", "--trainer.callbacks.min_delta", "100"])
    printed = capsys.readouterr().out
    assert "Stopped early, after epoch 2 of 100: Monitored metric val/loss did not improve in the last 1" in printed


def test_a_run_without_validation_says_that_its_last_steps_are_not_tested(folder, capsys):
    train(["--trainer.max_steps", "6", "--data.batch_size", "25", "--trainer.limit_val_batches", "0"])
    assert "tested: the best epoch; without validation" in capsys.readouterr().out


def test_a_feature_can_be_named_bias(folder, capsys):
    (folder / "t.csv").write_text("bias,y\n" + "".join(f"{i},{2 * i}\n" for i in range(40)))
    train(["--data", "TabularDataModule", "--data.path", "t.csv", "--data.target", "y", "--trainer.max_epochs", "2"])
    assert re.search(r"│ \(bias\)", capsys.readouterr().out)


def test_yaml_can_set_single_arguments_of_the_default_classes(folder, capsys):
    (folder / "part.yaml").write_text("model: {init_args: {l2: 0.5}}\ndata: {init_args: {rows: 40}}\n")
    train(["--config", "part.yaml", "--trainer.max_epochs", "2"])
    saved = (folder / "lightning_logs/version_0/config.yaml").read_text()
    assert "l2: 0.5" in saved
    assert "rows: 40" in saved


def test_a_run_can_be_used_from_any_folder(folder, table, capsys, monkeypatch):
    table()
    flags = ["--data", "TabularDataModule", "--data.path", "table.csv", "--data.target", "y", *QUIET]
    train([*flags, "--trainer.max_epochs", "2"])
    train(["--ckpt_path", "last", "--trainer.max_epochs", "3", "--data.path", "table.csv"])
    (folder / "elsewhere").mkdir()
    monkeypatch.chdir(folder / "elsewhere")
    assert evaluate("../lightning_logs/version_0")[1] == 8


def test_fast_dev_run_leaves_no_files(folder, capsys):
    train(["--trainer.fast_dev_run", "1"])
    assert list(folder.iterdir()) == []


def test_loggers_and_callbacks_can_be_chosen_by_name(folder, capsys):
    flags = ["--trainer.logger", "CSVLogger", "--trainer.logger.save_dir", "logs", "--trainer.max_epochs", "50"]
    train([*flags, "--trainer.callbacks", "EarlyStopping", "--trainer.callbacks.monitor", "val/loss"])
    run = folder / "logs/lightning_logs/version_0"
    assert {"config.yaml", "metrics.json", "metrics.csv"} <= {path.name for path in run.iterdir()}
    assert "train/loss" in (run / "metrics.csv").read_text().splitlines()[0]
