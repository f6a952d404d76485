"""Mistakes of the user lead to one line and exit status 2, and leave no files."""

import re

import pytest

from project.runtime.errors import UserError
from project.training.train import train
from tests.command import run_script

QUIET = ["--epoch_line.every_n_epochs", "0"]


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ("--foo 1", "unknown flag --foo"),
        ("--ckpt last", "unknown flag --ckpt; use --ckpt_path last"),
        ("--trainer.max_epohcs 1", "did you mean --trainer.max_epochs"),
        ("--optimizer.lr abc", "--optimizer.lr: 'abc' is not a float"),
        ("--optimizer.lr -1", "Invalid learning rate: -1.0"),
        ("--optimizer.foo 3", "--optimizer: SGD has no argument 'foo'"),
        ("--optimizer Adamm", "--optimizer: unknown class 'Adamm'; did you mean 'Adam'?"),
        ("--model.net MLQ", "--model.net: unknown class 'MLQ'; did you mean 'MLP'?"),
        ("--model.loss Foo", "--model.loss: unknown class 'Foo'"),
        ("--model.l1 -1", "--model.l1: must be a number, 0 or more, got -1"),
        ("--lr_scheduler StepLR", "--lr_scheduler: StepLR needs step_size"),
        ("--data TabularDataModule", "--data: TabularDataModule needs path, target"),
        ("--data TabularDataModule --data.path no.csv --data.target y", "no.csv: no such file or folder"),
        ("--data.rows 0", "--data.rows: must be an integer, 1 or more, got 0"),
        ("--seed_everything -1", "--seed_everything: must be an integer from 0 to 4294967295, got -1"),
        ("--seed_everything 1.5", "--seed_everything: '1.5' is not an int"),
        ("--data.batch_size 0", "--data.batch_size: must be an integer, 1 or more, got 0"),
        ("--data.batch_size 2.5", "--data.batch_size: must be an integer, 1 or more, got 2.5"),
        ("--config no.yaml", "--config no.yaml: no such file; pass a YAML file, as in --config experiment.yaml"),
        ("--config bat.yml", "--config bat.yml: no such file; did you mean --config bad.yaml?"),
        ("--ckpt_path last", "no run in lightning_logs has a checkpoint"),
        ("--ckpt_path no.ckpt", "no.ckpt: no such run or checkpoint"),
        ("--ckpt_path text.ckpt", "text.ckpt: not a checkpoint"),
        ("--trainer.max_epochs -5", "max_epochs"),
        ("--trainer.devices 0", "devices"),
        ("--trainer.max_epochs 0", "--trainer.max_epochs: must be 1 or more, got 0"),
        ("--trainer.limit_train_batches 0", "no step was trained"),
        ("--trainer.overfit_batches 1", "use --trainer.limit_train_batches"),
        ("--trainer.precision 7", "--trainer.precision: '7' is not one of"),
        ("--model.loss CrossEntropyLoss", "use it with --model Classification"),
        ("--trainer.callbacks EarlyStopping --trainer.callbacks.monitor val_loss", "val/loss"),
        ("--lr_scheduler ReduceLROnPlateau --lr_scheduler.monitor val_loss", "val_loss"),
        ("--optimizer SparseAdam", "--optimizer or --lr_scheduler: SparseAdam does not support"),
        ("--config bad.yaml", "bad.yaml: not YAML"),
        ("--trainer.callbacks Foo", "--trainer.callbacks: unknown class 'Foo'"),
    ],
)
def test_a_mistake_is_reported_and_leaves_no_run(folder, args, message):
    (folder / "text.ckpt").write_text("hello")
    (folder / "bad.yaml").write_text("trainer: [1")
    with pytest.raises(UserError) as caught:
        train(args.split())
    assert message in str(caught.value)
    if "monitor" in args:  # only detected after an epoch, whose checkpoint is kept
        return
    assert not list(folder.glob("lightning_logs/*"))


def test_a_mistake_prints_one_line_and_exits_with_2(folder):
    done = run_script(folder, "train", "--data.rows", 0)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "error: --data.rows: must be an integer, 1 or more, got 0\n"


def test_an_unwritable_log_folder_is_reported_before_the_first_step(folder):
    (folder / "file").touch()
    done = run_script(folder, "train", "--trainer.default_root_dir", folder / "file")
    assert done.returncode == 2
    assert re.fullmatch(r"error: .*file.*: Not a directory\n", done.stderr)
    assert "Epoch" not in done.stdout


def test_a_run_that_fails_before_its_first_checkpoint_leaves_no_folder(folder, table, monkeypatch):
    monkeypatch.setattr("project.models.regression.Regression.objective", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        train(QUIET)
    assert list((folder / "lightning_logs").iterdir()) == []
