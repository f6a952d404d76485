"""Errors during training end it with one line, and do not damage checkpoints."""

import errno
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from project.callbacks import LastCheckpoint
from project.inference.evaluate import evaluate
from project.runs.checkpoint import read_checkpoint
from project.runtime.errors import UserError
from project.runtime.logging import quiet_lightning
from project.training.train import train
from tests.command import Command, run_script
from tests.trained import trained

SHORT = ["--epoch_line.every_n_epochs", "0", "--trainer.max_epochs", "2"]
TABLE = ["--data", "TabularDataModule", "--data.path", "table.csv", "--data.target", "y", *SHORT]
LAST = "lightning_logs/version_0/checkpoints/last.ckpt"


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (
            "--optimizer.lr 1e30",
            "--optimizer.lr 1e+30: training diverges, the loss is inf in epoch 1, batch 2; lower the learning rate",
        ),
        ("--optimizer.lr 1e4", r"the loss is .*e\+\d+ in epoch 1, batch"),
        ("--optimizer.lr 10 --trainer.max_epochs 500", r"diverges, the loss is \d.* in epoch \d+, batch \d+;"),
        ("--optimizer.lr 1e30 --trainer.accumulate_grad_batches 2", "diverges, the loss is .* in epoch 1, batch 3;"),
        ("--optimizer.lr 1e30 --trainer.gradient_clip_val 1e20", "diverges, the loss is .* in epoch 1, batch 2;"),
        ("--optimizer LBFGS --optimizer.lr 1e30", "diverges, the loss is .* in epoch 1, batch 2;"),
        ("--optimizer.lr 1e25 --data.batch_size 100", "training diverges, the loss is inf in epoch 2, batch 1;"),
        (
            "--optimizer.lr 3e38 --data.batch_size 100 --data.noise 0 --trainer.limit_val_batches 0",
            "net.net.linear.weight is (inf|-inf|nan) in epoch",
        ),
        ("--model.standardize false --optimizer.lr 1e10", "or standardise with --model.standardize true"),
    ],
)
def test_a_diverging_loss_stops_training_and_is_not_saved(folder, args, message):
    with pytest.raises(UserError, match=message.replace("1e+30", r"1e\+30")):
        train([*SHORT, *args.split()])
    for path in folder.glob("lightning_logs/*/checkpoints/*.ckpt"):
        assert all(value.isfinite().all() for value in read_checkpoint(path)["state_dict"].values())


def test_divergence_prints_one_line_and_exits_with_2(folder):
    done = run_script(folder, "train", "--optimizer.lr", "1e30")
    assert done.returncode == 2
    assert done.stderr.startswith(
        "error: --optimizer.lr 1e+30: training diverges, the loss is inf in epoch 1, batch 2;"
    )
    assert done.stderr.count("\n") == 1


def test_checkpoints_from_before_a_divergence_are_kept(folder, capsys):
    trained(SHORT)
    before = read_checkpoint(folder / LAST)["state_dict"]
    with pytest.raises(UserError, match="training diverges"):
        train(["--ckpt_path", "last", "--optimizer.lr", "1e30", "--resume.allow", "lr", "--trainer.max_epochs", "9"])
    after = read_checkpoint(folder / LAST)["state_dict"]
    assert all(value.equal(after[name]) for name, value in before.items())


def test_a_loss_of_shapes_that_would_be_broadcast_is_an_error():
    quiet_lightning()
    with pytest.raises(UserWarning, match="Using a target size"):
        torch.nn.functional.mse_loss(torch.zeros(3), torch.zeros(3, 1))


def test_a_full_disk_stops_training_and_keeps_the_last_checkpoint(folder, capsys, monkeypatch):
    trained(SHORT)
    step = read_checkpoint(folder / LAST)["global_step"]

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("project.runs.checkpoint_io.torch.save", full)
    with pytest.raises(UserError, match=r"could not be written, with \d+ MiB free on its disk \(No space left"):
        train(["--ckpt_path", "last", "--trainer.max_epochs", "4"])
    assert read_checkpoint(folder / LAST)["global_step"] == step
    assert not list(folder.rglob("*.unfinished"))


def test_too_little_disk_space_is_reported_before_the_first_step(folder, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=10_000))
    with pytest.raises(UserError, match=r"0.0 MiB are free, but three checkpoints need 0.8 MiB; free some space"):
        train(SHORT)
    assert not list(folder.glob("lightning_logs/*"))


def test_a_damaged_last_checkpoint_is_reported_and_skipped(folder, capsys):
    trained(SHORT)
    (folder / LAST).write_bytes(b"damaged")
    train(["--ckpt_path", "last", "--trainer.max_epochs", "3"])
    assert "warning: skipped: lightning_logs/version_0/checkpoints/last.ckpt" in capsys.readouterr().err
    assert read_checkpoint(folder / LAST)["global_step"] == 15


def test_a_run_with_only_damaged_checkpoints_is_reported(folder, capsys):
    trained(SHORT)
    for path in folder.glob("lightning_logs/version_0/checkpoints/*.ckpt"):
        path.write_bytes(b"damaged")
    with pytest.raises(UserError, match="version_0: all checkpoints are damaged"):
        train(["--ckpt_path", "last", "--trainer.max_epochs", "3"])


def test_no_other_checkpoint_replaces_a_damaged_best_checkpoint(folder, capsys):
    trained(SHORT)
    (folder / "lightning_logs/version_0/checkpoints/best.ckpt").write_bytes(b"damaged")
    with pytest.raises(UserError, match=r"best.ckpt: not a checkpoint of this project, or a damaged one; use another"):
        evaluate("last")


def test_a_run_cannot_be_resumed_with_changed_features(folder, table, capsys):
    table(rows=100)
    train(TABLE)
    table(rows=100, _5_=",6,")
    with pytest.raises(UserError, match=r"the data has changed .* its feature_means were \[.*\], now \[.*\]; train"):
        train(["--ckpt_path", "last", "--trainer.max_epochs", "3"])
    table(rows=110)
    with pytest.raises(UserError, match=r"its row_counts were \[70, 10, 20\], now \[77, 11, 22\]"):
        train(["--ckpt_path", "last", "--trainer.max_epochs", "3"])
    metrics = train(["--ckpt_path", "last", "--trainer.max_epochs", "3", "--resume.allow", "data"])
    assert metrics["test/mse"] > 0


@pytest.mark.parametrize("flag", ["batch_size", "data.batch_size", "data"])
def test_an_allowed_setting_can_change_in_a_resumed_run(folder, capsys, flag):
    trained(SHORT)
    args = ["--ckpt_path", "last", "--trainer.max_epochs", "4", "--data.batch_size", "50"]
    with pytest.raises(UserError, match="--data.batch_size: a resumed run keeps its 20, got 50"):
        train(args)
    train([*args, "--resume.allow", flag])
    assert read_checkpoint(folder / LAST)["global_step"] == 2 * 5 + 2 * 2


def test_weight_averages_that_cannot_be_resumed_exactly_are_refused(folder, capsys):
    swa = ["--trainer.callbacks", "StochasticWeightAveraging", "--trainer.callbacks.swa_lrs", "0.01"]
    train([*SHORT, *swa, "--trainer.callbacks.swa_epoch_start", "1"])
    with pytest.raises(UserError, match="StochasticWeightAveraging: Lightning does not restore its averages exactly"):
        train(["--ckpt_path", "last", "--trainer.max_epochs", "4"])


def test_a_run_cannot_be_resumed_with_changed_targets(folder, table, capsys):
    table(rows=100)
    train(TABLE)
    lines = (folder / "table.csv").read_text().splitlines()
    lines[1:] = [f"{line.rsplit(',', 1)[0]},{i}" for i, line in enumerate(lines[1:])]
    (folder / "table.csv").write_text("\n".join(lines))
    with pytest.raises(UserError, match="the data has changed since the run was saved: its fingerprint"):
        train(["--ckpt_path", "last", "--trainer.max_epochs", "3"])


def test_resuming_a_run_stopped_after_its_last_step_only_tests_it(folder, capsys):
    whole = train(SHORT)
    (folder / "lightning_logs/version_0/metrics.json").unlink()
    resumed = train(["--ckpt_path", "last"])
    assert {name for name in whole if name.startswith(("train/", "val/", "test/"))} <= resumed.keys()
    assert {name: whole[name] for name in resumed if name.startswith(("train/", "val/", "test/"))} == {
        name: resumed[name] for name in resumed if name.startswith(("train/", "val/", "test/"))
    }


@pytest.mark.slow
def test_a_run_ended_by_early_stopping_is_not_trained_further(folder, capsys):
    early = ["--trainer.callbacks", "EarlyStopping", "--trainer.callbacks.monitor", "val/loss"]
    early += ["--trainer.callbacks.min_delta", "50", "--trainer.callbacks.patience", "1"]
    train([*SHORT, *early, "--trainer.max_epochs", "50"])
    with pytest.raises(UserError, match="EarlyStopping has ended training"):
        train(["--ckpt_path", "last"])
    step = read_checkpoint(folder / LAST)["global_step"]
    (folder / "lightning_logs/version_0/metrics.json").unlink()
    assert train(["--ckpt_path", "last"])["test/mse"] > 0
    assert read_checkpoint(folder / LAST)["global_step"] == step
    train(["--ckpt_path", "last", "--trainer.min_epochs", str(step // 5 + 2)])
    assert read_checkpoint(folder / LAST)["global_step"] == step + 2 * 5


def test_a_run_with_a_damaged_best_checkpoint_can_be_resumed(folder, capsys):
    trained(SHORT)
    (folder / "lightning_logs/version_0/checkpoints/best.ckpt").write_bytes(b"damaged")
    with pytest.warns(UserWarning, match=r"skipped: .*best.ckpt: not a checkpoint"):
        train(["--ckpt_path", "last", "--trainer.max_epochs", "3"])
    assert read_checkpoint(folder / "lightning_logs/version_0/checkpoints/best.ckpt")["global_step"] == 15


def test_the_previous_checkpoint_is_kept_on_a_file_system_without_links(folder, capsys, monkeypatch):
    def link(*_):
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr("os.link", link)
    train(SHORT)
    steps = [read_checkpoint((folder / LAST).with_name(f"{name}.ckpt"))["global_step"] for name in ("previous", "last")]
    assert steps == [5, 10]


def test_resume_allow_is_refused_for_a_new_run(folder):
    with pytest.raises(UserError, match="--resume.allow: has no effect on a new run"):
        train([*SHORT, "--resume.allow", "lr"])


def test_a_failed_run_removes_only_its_own_files(folder):
    (folder / "results").mkdir()
    (folder / "results/thesis.txt").write_text("precious")
    logger = [
        "--trainer.logger",
        "TensorBoardLogger",
        "--trainer.logger.save_dir",
        ".",
        "--trainer.logger.name",
        "results",
    ]
    with pytest.raises(UserError, match="training diverges"):
        train([*SHORT, *logger, "--trainer.logger.version", "", "--optimizer.lr", "1e30"])
    assert [path.name for path in (folder / "results").iterdir()] == ["thesis.txt"]


def test_runs_that_start_at_the_same_time_get_separate_folders(folder):
    runs = [Command(folder, "train", *SHORT) for _ in range(3)]
    assert [run.finish().returncode for run in runs] == [0, 0, 0]
    names = sorted(path.parent.name for path in folder.glob("lightning_logs/*/metrics.json"))
    assert names == ["version_0", "version_1", "version_2"]


def test_resume_allow_refuses_an_unknown_setting(folder, capsys):
    trained(SHORT)
    with pytest.raises(UserError, match="--resume.allow: no setting 'batchsize'; did you mean batch_size"):
        train(["--ckpt_path", "last", "--trainer.max_epochs", "3", "--resume.allow", "batchsize"])


@pytest.mark.parametrize("callback", ["StochasticWeightAveraging", "Timer"])
def test_defaults_that_yaml_cannot_represent_are_written_as_text(folder, capsys, callback):
    args = ["--trainer.callbacks", callback]
    args += ["--trainer.callbacks.swa_lrs", "0.01"] if callback == "StochasticWeightAveraging" else []
    first = train([*SHORT, *args])
    again = train(["--config", str(folder / "lightning_logs/version_0/config.yaml")])
    assert again["test/mse"] == first["test/mse"]


def test_weights_of_another_net_are_refused_even_if_the_change_is_allowed(folder, capsys):
    trained(SHORT)
    args = ["--ckpt_path", "last", "--trainer.max_epochs", "4", "--model.net", "MLP", "--resume.allow", "model"]
    with pytest.raises(UserError, match="weights belong to another network"):
        train(args)


@pytest.mark.slow
def test_memory_does_not_grow_over_50_000_logged_steps(folder, monkeypatch, capsys):
    sizes = []
    before = LastCheckpoint.on_train_batch_start

    def on_train_batch_start(self, trainer, *rest):
        if trainer.global_step % 5_000 == 0:
            lines = Path("/proc/self/status").read_text().splitlines()
            sizes.append(next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")))
        before(self, trainer, *rest)

    monkeypatch.setattr(LastCheckpoint, "on_train_batch_start", on_train_batch_start)
    every_step = ["--trainer.log_every_n_steps", "1", "--trainer.callbacks", "LearningRateMonitor"]
    every_step += ["--trainer.callbacks.logging_interval", "step", "--data.rows", "1000", "--data.batch_size", "1"]
    train([*SHORT, *every_step, "--trainer.max_epochs", "55"])
    assert len(sizes) == 11
    assert sizes[-1] - sizes[1] < 5_000, "kB"
