"""Flags and names from other programs are answered with the line to type, and that line parses."""

import re
import shlex

import pytest

from project.config.command_line import prepare_arguments
from project.runtime.errors import UserError
from project.stages.base import parse
from project.training.cli import ExperimentCLI

TABLE = "--data TabularDataModule --data.path houses.csv --data.target COLUMN"
WRONG = {
    # flags of other programs
    "--epochs 5": "--trainer.max_epochs 5",
    "--max_epochs=5": "--trainer.max_epochs 5",
    "--max-epochs 5": "--trainer.max_epochs 5",
    "--epochs": "--trainer.max_epochs N",
    "--lr 0.1": "--optimizer.lr 0.1",
    "--learning_rate 1e-3": "--optimizer.lr 1e-3",
    "--weight_decay 0.1": "--optimizer.weight_decay 0.1",
    "--batch_size 8": "--data.batch_size 8",
    "-b 8": "--data.batch_size 8",
    "--workers 2": "--data.num_workers 2",
    "--gpus 1": "--trainer.accelerator gpu --trainer.devices 1",
    "--gpus 0": "--trainer.accelerator cpu",
    "--cuda": "--trainer.accelerator gpu",
    "--device cuda": "--trainer.accelerator gpu",
    "--sample_weight w": "--data TabularDataModule --data.weights w --data.path FILE --data.target COLUMN",
    "--threshold 0.2": "--model Classification --model.threshold 0.2",
    "--accelerator gpu": "--trainer.accelerator gpu",
    "--devices 2": "--trainer.devices 2",
    "--precision 16": "--trainer.precision 16-mixed",
    "--precision bf16-mixed": "--trainer.precision bf16-mixed",
    "--seed 1": "--seed_everything 1",
    "--verbose": "--trainer.enable_progress_bar true",
    "--verbose 0": "--trainer.enable_progress_bar false",
    "--quiet": "--trainer.enable_progress_bar false",
    "--resume": "--ckpt_path last",
    "--resume lightning_logs/version_0": "--ckpt_path lightning_logs/version_0",
    "--checkpoint 'my run'": '--ckpt_path "my run"',
    "--output results": "--trainer.default_root_dir results",
    "--net CNN": "--model.net CNN",
    "--net transformer": "--model.net Transformer",
    "--hidden 64": '--model.net MLP --model.net.hidden "[64]"',
    "--hidden 64 32": '--model.net MLP --model.net.hidden "[64, 32]"',
    "--model.net RNN --hidden 64": "--model.net.hidden 64",
    "--net Transformer --hidden 64": "--model.net Transformer --model.net.width 64",
    "--dropout 0.2": "--model.net MLP --model.net.dropout 0.2",
    "--loss mse": "--model.loss MSELoss",
    "--loss huber": "--model.loss HuberLoss",
    "--loss cross_entropy": "--model Classification --model.loss CrossEntropyLoss",
    "--optim adam": "--optimizer Adam",
    "--scheduler StepLR": "--lr_scheduler StepLR --lr_scheduler.step_size STEP_SIZE",
    "--scheduler cosine": "--lr_scheduler CosineAnnealingLR --lr_scheduler.T_max T_MAX",
    "--csv houses.csv": TABLE,
    "--target price": "--data TabularDataModule --data.target price --data.path FILE",
    "--csv houses.csv --target price": "--data TabularDataModule --data.path houses.csv --data.target price",
    "--data.path houses.csv --data.target price": "--data TabularDataModule --data.path houses.csv --data.target price",
    "--data.path houses.csv --target price": "--data TabularDataModule --data.path houses.csv --data.target price",
    "--model.net.hidden 64": '--model.net MLP --model.net.hidden "[64]"',
    "--trainer.gpus 1": "--trainer.accelerator gpu --trainer.devices 1",
    "--dataset digits": "--data DigitsDataModule",
    "--features 5": "--data.features 5",
    f"{TABLE} --features rooms,age": '--data.features "[rooms, age]"',
    "--patience 3": "--trainer.callbacks EarlyStopping --trainer.callbacks.monitor val/loss "
    "--trainer.callbacks.patience 3",
    "--epochs 5 --lr 0.1 --batch_size 8": "--trainer.max_epochs 5 --optimizer.lr 0.1 --data.batch_size 8",
    "-e 5": "--trainer.max_epochs 5",
    "--train.epochs 5": "--trainer.max_epochs 5",
    "--trainer.lr 0.1": "--optimizer.lr 0.1",
    "--model.lr 0.1": "--optimizer.lr 0.1",
    "--model.optimizer Adam": "--optimizer Adam",
    "--optimizer.name Adam": "--optimizer Adam",
    # classes
    "--data CSVDataModule": "--data TabularDataModule --data.path FILE --data.target COLUMN",
    "--model MLP": "--model.net MLP",
    "--model mlp": "--model.net MLP",
    "--model.net Adam": "--optimizer Adam",
    "--optimizer StepLR": "--lr_scheduler StepLR --lr_scheduler.step_size STEP_SIZE",
    "--optimizer adam": "--optimizer Adam",
    "--model.net Transfomer": "--model.net Transformer",
    "--data houses.csv": TABLE,
    "--data houses.csv --data.target price": "--data TabularDataModule --data.path houses.csv",
    "--data tabular": "--data TabularDataModule --data.path FILE --data.target COLUMN",
    "--data Tabular --data.path houses.csv": "--data TabularDataModule --data.target COLUMN",
    "--data digits": "--data DigitsDataModule",
    # values that belong to no flag
    "houses.csv": TABLE,
    "MLP": "--model.net MLP",
    "mlp.yaml": "--config mlp.yaml",
    "last": "--ckpt_path last",
    "--trainer.max_epochs 5 houses.csv": f"--data TabularDataModule --trainer.max_epochs 5 {TABLE[25:]}",
    "--model.net MLP --model.net.hidden 64 64": '--model.net.hidden "[64, 64]"',
    # values
    "--trainer.max_epoch 5": "--trainer.max_epochs 5",
    "--limit_train_batches 5": "--trainer.limit_train_batches 5",
    "--trainer.max_epochs five": "--trainer.max_epochs 10",
    "--trainer.accelerator gpu --trainer.precision 16-mixd": "--trainer.precision 16-mixed",
    "--model.net MLP --model.net.activation relu": "--model.net.activation ReLU",
    "--model.net MLP --model.net.hiden [64]": '--model.net.hidden "[64]"',
    "--model.net MLP --model.net.hidden 64": '--model.net.hidden "[64]"',
    "--optimizer.learning_rate 0.1": "--optimizer.lr 0.1",
    "--lr_scheduler StepLR": "--lr_scheduler.step_size STEP_SIZE",
}
KEPT = {  # what is right already
    "--model.net RNN --hidden 64": "--model.net RNN",
    f"{TABLE} --features rooms,age": TABLE,
    "--data houses.csv --data.target price": "--data.target price",
    "--data Tabular --data.path houses.csv": "--data.path houses.csv",
    "--model.net MLP --model.net.hidden 64 64": "--model.net MLP",
    "--model.net MLP --model.net.activation relu": "--model.net MLP",
    "--model.net MLP --model.net.hiden [64]": "--model.net MLP",
    "--model.net MLP --model.net.hidden 64": "--model.net MLP",
    "--lr_scheduler StepLR": "--lr_scheduler StepLR",
}
PLACEHOLDERS = {"N": "3", "FILE": "houses.csv", "COLUMN": "price", "STEP_SIZE": "5", "T_MAX": "5"}


@pytest.fixture
def houses(folder):
    """Files that commands name."""
    (folder / "houses.csv").write_text("rooms,age,price\n" + "".join(f"{n},{n * n},{n + 5}\n" for n in range(20)))
    (folder / "mlp.yaml").write_text("model:\n  class_path: Regression\n  init_args:\n    net: MLP\n")


@pytest.fixture(scope="module")
def parser():
    """The parser of scripts/train.py, with its defaults."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ExperimentCLI, "instantiate_classes", lambda self: None)
        return ExperimentCLI([]).parser


@pytest.mark.parametrize(("typed", "instead"), WRONG.items(), ids=WRONG)
def test_a_wrong_command_is_answered_with_the_line_to_type(houses, typed, instead):
    with pytest.raises(UserError) as caught:
        parse(shlex.split(typed))
    line = str(caught.value)
    assert "\n" not in line
    assert "--help" not in line
    found = re.search(r"(?:[Uu]se|add|as in|did you mean) (--.*?)\??$", line)
    assert found, line
    assert found[1] == instead


@pytest.mark.parametrize("typed", [typed for typed, instead in WRONG.items() if "--ckpt_path" not in instead])
def test_the_line_to_type_parses(houses, parser, typed):
    args = shlex.split(f"{KEPT.get(typed, '')} {WRONG[typed]}")
    parser.parse_args(prepare_arguments([PLACEHOLDERS.get(arg, arg) for arg in args]))


def test_several_mistakes_are_answered_in_one_line(houses):
    with pytest.raises(UserError) as caught:
        parse(shlex.split("--epochs 5 --optimizer adam --data houses.csv"))
    assert str(caught.value) == (
        "unknown flag --epochs; --optimizer: unknown class 'adam'; --data houses.csv: a file, not a data module; use "
        "--data TabularDataModule --trainer.max_epochs 5 --optimizer Adam --data.path houses.csv --data.target COLUMN"
    )


def test_flags_that_change_a_run_do_not_choose_its_data_and_network_again(houses):
    config = parse(["--model.net", "RNN"])
    for typed, instead in {"--hidden 64": "--model.net.hidden", "--csv new.csv": "--data.path new.csv"}.items():
        with pytest.raises(UserError, match=f"use {instead}"):
            parse(typed.split(), config)
    for right in (["--data.rows", "7"], ["--model.net.hidden", "7"]):
        parse(right, config)


def test_no_message_shows_what_is_in_a_file(folder):
    (folder / "secret.csv").write_text("password\nhunter2\n")
    (folder / "secret").write_text("password: [hunter2\n")
    for flag in (
        "--data",
        "--model",
        "--model.net",
        "--optimizer",
        "--trainer",
        "--weights",
        "--config",
        "--lr_scheduler",
    ):
        for name in ("secret.csv", "secret"):
            with pytest.raises(UserError) as caught:
                parse([flag, name])
            assert "hunter2" not in str(caught.value), caught.value
