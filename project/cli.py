"""The command line of training: every argument of model, data, optimizer, scheduler and Trainer is a flag."""

import logging
import sys
import warnings
from argparse import ArgumentError
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import yaml
from jsonargparse import ArgumentParser
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import LightningDataModule, Trainer
from lightning.pytorch.callbacks import Callback, LearningRateMonitor, ModelCheckpoint
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI, LRSchedulerTypeTuple
from lightning.pytorch.loggers import TensorBoardLogger
from rich.console import Console

import project.data
import project.nets  # noqa: F401  (names that can be given to --model.net)
from project.callbacks import EpochLine, ExactAnswer, FitFigure, Hyperparameters, RunFolder
from project.callbacks.exact_answer import is_affordable
from project.data.datamodule import RowsDataModule
from project.errors import UserError
from project.flag_errors import flag_error
from project.models.regression import Regression
from project.models.supervised import Supervised
from project.report import exact_metrics, print_equation, print_metrics, print_run
from project.run import (
    BEST,
    CONFIG_KEY,
    DATA_KEY,
    LAST,
    ROOT,
    find_checkpoint,
    load_weights,
    read_checkpoint,
    write_metrics,
)

DEFAULTS = {
    "model": {"class_path": "project.models.Regression"},
    "data": {"class_path": "project.data.SyntheticDataModule"},
    "optimizer": {"class_path": "torch.optim.SGD", "init_args": {"lr": 0.01}},
    "trainer.max_epochs": 100,
}

CHECKPOINT: dict[str, Any] = {"save_on_train_epoch_end": True, "enable_version_counter": False}
NEEDLESS_WARNINGS = (
    r".*does not have many workers",  # rows in memory are gathered fastest without any
    r".*smaller than the logging interval",  # curves have a point an epoch, whatever the number of batches
    r".*isinstance\(treespec, LeafSpec\)",  # within Lightning
    r".*torch.jit.script_method. is deprecated",  # within torch.compile
    r".*Checkpoint directory .* exists",  # as it does when a run is resumed
)


def chosen_classes(words: Sequence[str]) -> set[str]:
    """The sections for which flags or YAML name a class, whose own defaults then hold.

    A parser's default section would lend its arguments to any class put in its place: Adam would take over SGD's rate.
    """
    chosen = {word[2:].split("=")[0] for word in words if word.startswith("--")}
    for flag, value in zip([*words, ""], [*words[1:], "", ""], strict=False):
        if flag in ("--config", "-c"):  # a file, or YAML itself
            text = value if "\n" in value else Path(value).read_text() if Path(value).is_file() else ""
            sections = yaml.safe_load(text)
            chosen |= set(sections) if isinstance(sections, dict) else set()
    return chosen


class ExperimentCLI(LightningCLI):
    """Parses flags and YAML, and builds `model`, `datamodule` and `trainer` from them.

    Args:
        args: Command line words.

    Attributes:
        run_folder: Callback that knows where the run lies.
        exact_answer: Callback that knows how far training came.
    """

    model: Supervised
    trainer: Trainer

    def __init__(self, args: Sequence[str]) -> None:
        self.words = list(args)
        self.best: ModelCheckpoint | None = None
        try:
            super().__init__(
                Supervised,
                LightningDataModule,
                subclass_mode_model=True,
                subclass_mode_data=True,
                save_config_callback=None,
                seed_everything_default=0,
                parser_kwargs={"exit_on_error": False, "description": "Train a model, and test the best checkpoint."},
                load_from_checkpoint_support=False,
                run=False,
            )
        except (ArgumentError, ValueError, TypeError, MisconfigurationException) as error:
            raise flag_error(error, self.parser._option_string_actions) from error

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add what the project has beyond Lightning's own arguments."""
        parser.add_argument("--ckpt_path", type=str | None, help="Resume from a checkpoint, a run folder, or `last`.")
        parser.add_lightning_class_args(EpochLine, "epoch_line")
        parser.add_optimizer_args((torch.optim.Optimizer,))
        parser.add_lr_scheduler_args(LRSchedulerTypeTuple)
        for size in ("in_shape", "out_features"):
            parser.link_arguments(f"data.{size}", f"model.init_args.{size}", apply_on="instantiate")

    def parse_arguments(self, parser: ArgumentParser, args: Any) -> None:
        """Parse the words; a run that is resumed brings its own configuration, which flags override."""
        chosen = chosen_classes(self.words)
        parser.set_defaults({key: default for key, default in DEFAULTS.items() if key not in chosen})
        self.config = parser.parse_args(self.words)
        self.checkpoint: Path | None = None
        if self.config.ckpt_path:
            self.checkpoint = find_checkpoint(self.config.ckpt_path, LAST)
            checkpoint = read_checkpoint(self.checkpoint)
            self.config = parser.parse_args(["--config", checkpoint[CONFIG_KEY], *self.words])
            epochs = checkpoint["loops"]["fit_loop"]["epoch_progress"]["current"]["processed"]
            if epochs >= (self.config.trainer.max_epochs or 1) > 0:
                raise UserError(f"{self.checkpoint}: all {epochs} epochs are done: give --trainer.max_epochs to go on")
        self.config.config = self.config.ckpt_path = None

    def _add_configure_optimizers_method_to_model(self, subcommand: str | None) -> None:
        try:  # it builds the optimizer once, before anything is written
            super()._add_configure_optimizers_method_to_model(subcommand)
        except (ValueError, TypeError) as error:
            raise UserError(f"--optimizer or --lr_scheduler: {error}") from error

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """Build the Trainer, with the callbacks that make a run."""
        config = self.config_init.trainer
        writes = not config.fast_dev_run
        if config.logger in (None, True):
            logs, version = Path(config.default_root_dir or Path.cwd()) / ROOT, None
            if self.checkpoint and self.checkpoint.parent.name == "checkpoints":  # a resumed run goes on in its folder
                logs, version = self.checkpoint.parents[2].resolve(), self.checkpoint.parents[1].name
            config.logger = TensorBoardLogger(logs.parent, logs.name, version=version, default_hp_metric=False)
        if config.enable_progress_bar is None:
            config.enable_progress_bar = sys.stdout.isatty()
        if config.enable_model_summary is None:
            config.enable_model_summary = False
        self.run_folder, self.exact_answer = RunFolder(self.yaml()), ExactAnswer()
        callbacks: list[Callback] = [self.exact_answer]
        if writes:
            callbacks += [self.run_folder, FitFigure()]
        if writes and config.logger:
            callbacks += [LearningRateMonitor(logging_interval="epoch"), Hyperparameters(self.config.as_dict())]
        if config.enable_checkpointing is not False and writes:
            monitor = "train/loss" if config.limit_val_batches == 0 else "val/loss"
            self.best = ModelCheckpoint(filename=Path(BEST).stem, monitor=monitor, **CHECKPOINT)
            # Lightning's `save_last` copies the best: a run resumed from it would fall back to the best epoch.
            callbacks += [self.best, ModelCheckpoint(filename=Path(LAST).stem, **CHECKPOINT)]
        given = config.callbacks or []
        config.callbacks = [*(given if isinstance(given, list) else [given]), *callbacks]
        return super().instantiate_trainer(**kwargs)

    def yaml(self) -> str:
        """The complete configuration; training it again reproduces the run."""
        return self.parser.dump(self.config, skip_none=False)


def train(words: Sequence[str]) -> dict[str, float]:
    """Fit, test the best checkpoint, write metrics.json, and print a report.

    Args:
        words: Command line words.

    Returns:
        What metrics.json holds.
    """
    quiet_lightning()
    cli = ExperimentCLI(words)
    trainer, data, run, exact = cli.trainer, cli.datamodule, cli.run_folder, cli.exact_answer
    trainer.fit(cli.model, data, ckpt_path=cli.checkpoint, weights_only=True)
    metrics = {
        name: value.item() for name, value in trainer.callback_metrics.items() if name.startswith(("train/", "val/"))
    }
    if cli.best is not None:  # by hand: callbacks that average weights would have Lightning load the unaveraged ones
        load_weights(cli.model, read_checkpoint(Path(cli.best.best_model_path))["state_dict"])
    metrics |= trainer.test(cli.model, data, verbose=False)[0]
    if exact.gap is not None:
        metrics["gap/train_mse"] = exact.gap
    if not trainer.is_global_zero:
        return metrics
    if run.path is not None:
        metrics |= {"seconds/fit": run.seconds, "rows_per_second": run.rows * trainer.world_size / run.seconds}
        write_metrics(run.path, metrics)
    report(cli, metrics)
    return metrics


def open_run(reference: str, words: Sequence[str] = ()) -> ExperimentCLI:
    """A trained model with its data and a Trainer that writes nothing, all on one device.

    Args:
        reference: A run folder, a checkpoint, or `last`.
        words: Flags of scripts/train.py that override the run's own, such as `--data.path other.csv`.
    """
    quiet_lightning()
    checkpoint = read_checkpoint(find_checkpoint(reference))
    config = yaml.safe_load(checkpoint[CONFIG_KEY])
    data = config["data"]["init_args"]
    if "features" in data and data["features"] is None:  # all columns, of the run's table and not of any other
        data["features"] = checkpoint[DATA_KEY]["feature_names"]
    config["trainer"] |= {"logger": False, "callbacks": None, "devices": 1, "strategy": "auto", "num_nodes": 1}
    cli = ExperimentCLI(["--config", yaml.safe_dump(config), *words])
    load_weights(cli.model, checkpoint["state_dict"])
    return cli


def quiet_lightning() -> None:
    """Leave out of the terminal what Lightning says of itself."""
    for logger in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(logger).setLevel(logging.WARNING)
    for message in NEEDLESS_WARNINGS:
        warnings.filterwarnings("ignore", message)
    warnings.formatwarning = lambda message, *_, **__: f"warning: {message}\n"  # its place in the code helps no user


def report(cli: ExperimentCLI, metrics: Mapping[str, float]) -> None:
    """Print what was learned beside what is exactly right, the test metrics, and where the run lies."""
    console = Console(width=None if sys.stdout.isatty() else 100)
    data, exact = cli.datamodule, None
    console.print()
    learned = cli.exact_answer.equation
    best = cli.model.equation if isinstance(cli.model, Regression) else None  # the test has loaded the best checkpoint
    if learned is not None and best is not None and isinstance(data, RowsDataModule):
        print_equation(console, data, learned, best, cli.exact_answer.gap)
        exact = exact_metrics(data, data.least_squares) if is_affordable(data) else None
    print_metrics(console, {name: value for name, value in metrics.items() if name.startswith("test/")}, exact)
    if cli.run_folder.path is not None:
        print_run(console, cli.run_folder.path, cli.run_folder.seconds)
