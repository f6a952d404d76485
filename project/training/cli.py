"""The command line of training: every argument of model, data, optimizer, scheduler and Trainer is a flag."""

import argparse
import sys
from argparse import ArgumentError
from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import yaml
from jsonargparse import ArgumentParser, Namespace
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import LightningDataModule, Trainer
from lightning.pytorch.callbacks import Callback, LearningRateMonitor
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI, LRSchedulerTypeTuple
from lightning.pytorch.strategies import DDPStrategy
from torch.distributed import default_pg_timeout

import project.data
import project.nets  # noqa: F401  (names that can be given to --model.net)
from project.callbacks import (
    BestCheckpoint,
    EpochLine,
    EpochSeed,
    ExactAnswer,
    ExactResume,
    Finetuning,
    FitFigure,
    Hyperparameters,
    LastCheckpoint,
    Pretrained,
    Pruning,
    RunFolder,
)
from project.callbacks.finetuning import parameter_groups
from project.callbacks.user_callbacks import user_callbacks
from project.config.flag_errors import FlagError, flag_error, raised_in
from project.config.trust import require_known, with_trust
from project.config.yaml import with_full_paths, with_plain_values, yaml_of
from project.data.sampling import Sampling
from project.models.distillation import Distillation
from project.models.supervised import Supervised
from project.runs.checkpoint import CONFIG_KEY, read_checkpoint
from project.runs.checkpoint_checks import check_progress
from project.runs.checkpoint_io import VerifiedCheckpointIO
from project.runs.folder import LAST, ROOT, find_checkpoint
from project.runs.resume import is_finished, permitted_changes, restarted_run
from project.runs.weights import load_teacher, resolve_last
from project.runtime.console import shows_widgets
from project.runtime.errors import UserError
from project.training.logger import run_logger

DEFAULTS = {
    "model": {"class_path": "project.models.Regression"},
    "data": {"class_path": "project.data.SyntheticDataModule"},
    "optimizer": {"class_path": "torch.optim.SGD", "init_args": {"lr": 0.01}},
    "trainer.max_epochs": 100,
}

# Flags that mean nothing to a model that solves.
UNUSED_BY_SOLVER = ("--optimizer", "--lr_scheduler", "--weights", "--finetuning", "--pruning")
USAGE = """%(prog)s [--config YAML] [--ckpt_path last] [--trust MODULE …]
       [--data NAME --data.ARGUMENT VALUE …] [--model NAME --model.ARGUMENT VALUE …] [--model.net NAME …]
       [--optimizer NAME --optimizer.ARGUMENT VALUE …] [--lr_scheduler NAME …] [--trainer.ARGUMENT VALUE …]"""
DESCRIPTION = (
    "Train a model, and test the best checkpoint. Without flags: a linear model on y = 3x + 2 with noise. On a table "
    "of yours: --data TabularDataModule --data.path FILE --data.target COLUMN. `--data.help NAME`, "
    "`--model.net.help NAME`, `--optimizer.help NAME` and the like list the arguments of a class. Classes outside the "
    "project, torch and Lightning are refused, unless `--trust MODULE` allows theirs."
)
# Processes that wait for one that does not answer give up after so long; torch's own half an hour is of no use.
PROCESS_TIMEOUT = timedelta(minutes=5)


class ExperimentCLI(LightningCLI):
    """Parses flags and YAML, and builds `model`, `datamodule` and `trainer` from them.

    Args:
        args: Command line args; `--trust MODULE` among them lets configurations name the module's classes.
        callbacks: What watches this training alone: no part of the run's configuration.
        folder: Where the run is to lie; the next `lightning_logs/version_N` without one.
        config: A complete configuration, which the args override.

    Attributes:
        run_folder: Callback that knows where the run lies.
        exact_answer: Callback that knows how far training came.
        claimed: The folder that was made for the run, where it is a new one.
    """

    model: Supervised
    trainer: Trainer

    def __init__(
        self,
        args: Sequence[str],
        callbacks: Sequence[Callback] = (),
        folder: Path | None = None,
        config: Mapping[str, Any] | None = None,
    ) -> None:
        self.argv, self.configs = with_trust(args), [config] if config else []
        self.watching, self.folder = callbacks, folder
        self.best: BestCheckpoint | None = None
        try:
            super().__init__(
                Supervised,
                LightningDataModule,
                subclass_mode_model=True,
                subclass_mode_data=True,
                save_config_callback=None,
                seed_everything_default=0,
                parser_kwargs={
                    "exit_on_error": False,
                    "allow_abbrev": False,
                    "usage": USAGE,
                    "description": DESCRIPTION,
                },
                load_from_checkpoint_support=False,
                run=False,
            )
        except (ArgumentError, ValueError, TypeError, MisconfigurationException) as error:
            if raised_in(error) == __name__:  # a defect, and not a mistake
                raise
            raise flag_error(error, self.parser._option_string_actions) from error

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add what the project has beyond Lightning's own arguments."""
        parser.add_argument("--ckpt_path", type=str | None, help="Resume from a checkpoint, a run folder, or `last`.")
        parser.add_argument(
            "--resume.allow", nargs="+", default=[], help="What may differ from the run that is resumed."
        )
        parser.add_argument(
            "--lifecycle", type=dict[str, Any] | None, help="What scripts/lifecycle.py does; of no effect here."
        )
        parser.add_lightning_class_args(EpochLine, "epoch_line")
        parser.add_lightning_class_args(Pretrained, "weights")
        parser.add_lightning_class_args(Finetuning, "finetuning")
        parser.add_lightning_class_args(Pruning, "pruning")
        parser.add_class_arguments(Sampling, "sampling")
        parser.add_optimizer_args((torch.optim.Optimizer,))
        parser.add_lr_scheduler_args(LRSchedulerTypeTuple)
        for size in ("in_shape", "out_features"):
            parser.link_arguments(f"data.{size}", f"model.init_args.{size}", apply_on="instantiate")

    def parse_arguments(self, parser: ArgumentParser, args: Any) -> None:
        """Parse the args; a run that is resumed brings its own configuration, which flags override."""
        scan = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
        scan.add_argument("--ckpt_path")
        scan.add_argument("--trainer.default_root_dir", dest="root", default=".")
        given, others = scan.parse_known_args(self.argv)
        settings = {key: value for config in self.configs for key, value in config.items()} | yaml_of(self.argv)
        reference = given.ckpt_path or settings.get("ckpt_path")
        # A default section would lend its arguments to any class put in its place: Adam would take over SGD's rate.
        chosen = {arg[2:].split("=")[0] for arg in others if arg.startswith("--")}
        chosen |= {
            key
            for key, value in settings.items()
            if isinstance(value, str) or (isinstance(value, dict) and "class_path" in value)
        }
        parser.set_defaults({key: default for key, default in DEFAULTS.items() if key not in chosen})
        self.checkpoint: Path | None = None
        self.trained_steps, self.changes, self.finished = 0, dict[str, Any](), False
        if reference:
            self._resume(find_checkpoint(reference, LAST, Path(given.root) / ROOT))
        else:
            self.config = self._parse(self.argv, *self.configs)
            resolve_last(self.config, Path(given.root) / ROOT)
            self.config.config = None  # as it is in the configuration that a run keeps
            if (restarted := restarted_run(Path(given.root) / ROOT, self.yaml)) is not None:
                self._resume(restarted)
        if self.config.model.class_path.endswith(".LinearRegression"):
            idle = next((arg for arg in self.argv if arg.startswith(UNUSED_BY_SOLVER)), None)
            if idle:
                raise UserError(f"{idle}: --model LinearRegression solves, without any training: leave it out")
        seed = self.config.seed_everything
        if not isinstance(seed, bool) and not 0 <= seed < 2**32:
            raise FlagError(f"--seed_everything is {seed}: give 0 to {2**32 - 1}")
        if self.config.trainer.max_epochs == 0 and not self.config.weights.path:
            raise UserError("--trainer.max_epochs is 0: give 1 or more, or weights to take over with --weights.path")
        self.config.config = self.config.ckpt_path = self.config.lifecycle = None
        if self.config.resume.allow and self.checkpoint is None:
            raise UserError("--resume.allow is for a run that is resumed: give --ckpt_path, too")
        self.allowed, self.config.resume.allow = self.config.resume.allow, []
        require_known(self.config)

    def _parse(self, args: Sequence[str], *configs: Mapping[str, Any]) -> Namespace:
        """Parse args that override configurations, each of which overrides those before it."""
        base = None
        for config in configs:
            base = self.parser.parse_object(dict(config), namespace=base, defaults=False)
        return self.parser.parse_args(args, namespace=base)

    def _resume(self, path: Path) -> None:
        """Parse the args over a run's own configuration."""
        checkpoint = read_checkpoint(path)
        check_progress(str(path), checkpoint)
        own = yaml.safe_load(checkpoint[CONFIG_KEY])
        saved, self.config = self._parse([], own), self._parse(self.argv, own, *self.configs)
        self.changes = permitted_changes(saved, self.config, self.config.resume.allow)
        self.finished = is_finished(checkpoint, self.config.trainer, path)
        self.trained_epochs = checkpoint["loops"]["fit_loop"]["epoch_progress"]["current"]["processed"]
        self.checkpoint, self.trained_steps = path, checkpoint["global_step"]

    def before_instantiate_classes(self) -> None:
        """Have the data module know which rows are wanted before it is asked for their shape."""

        def build(data_class: type[LightningDataModule], *args: Any, **kwargs: Any) -> LightningDataModule:
            data: Any = data_class(*args, **kwargs)
            data.sampling = Sampling(**self.config.sampling)
            return data

        self.parser.add_instantiator(build, LightningDataModule)

    def _add_configure_optimizers_method_to_model(self, subcommand: str | None) -> None:
        decay, model = self.config_init.finetuning.layer_decay, self.model
        if isinstance(model, Distillation):  # who may learn, too, by the same optimizer
            model.set_teacher(load_teacher(self.config.model.init_args.teacher, self.datamodule))
        try:  # it builds the optimizer once, before anything is written
            if decay != 1:
                groups = parameter_groups(model, self.config.optimizer.init_args.lr, decay)
                if sum(any(p.requires_grad for p in group["params"]) for group in groups) < 2:
                    raise UserError("--finetuning.layer_decay: what is trained is one layer: leave it out")
                model.__dict__["parameters"] = lambda: groups  # what Lightning hands to the optimizer
            super()._add_configure_optimizers_method_to_model(subcommand)
        except UserError:
            raise
        except (ValueError, TypeError) as error:
            decaying = "--finetuning.layer_decay, " if decay != 1 else ""
            raise UserError(f"{decaying}--optimizer or --lr_scheduler: {error}") from error
        finally:
            model.__dict__.pop("parameters", None)

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """Build the Trainer, with the logger and the callbacks that make a run."""
        config = self.config_init.trainer
        if str(config.strategy).endswith(("spawn", "fork", "notebook")):
            raise UserError(f"--trainer.strategy {config.strategy}: its processes keep what they learn: give ddp")
        if config.precision in ("16-true", "bf16-true"):
            raise UserError(
                f"--trainer.precision {config.precision} rounds the data itself: give {config.precision[:-4]}mixed"
            )
        if self.finished:  # also where it is EarlyStopping that ended it, and not this limit
            config.max_epochs = self.trained_epochs
        if config.enable_progress_bar is None:
            config.enable_progress_bar = sys.stdout.isatty() or shows_widgets()
        if config.enable_model_summary is None:
            config.enable_model_summary = False
        self.pretrained: Pretrained = self.config_init.weights
        self.pretrained.choose_parts(self.datamodule)
        self.config.weights.reinitialize = self.pretrained.reinitialize
        self.config_init.finetuning.reinitialized = self.pretrained.reinitialize or []
        given = user_callbacks(config, self.checkpoint is not None, self.finished)
        own = self._own_callbacks(config)
        optimizer_changes = {n.split(".", 1)[1]: v for n, v in self.changes.items() if n.startswith("optimizer.")}
        # First: what others do at the start of a batch is done again in a resumed run.
        config.callbacks = [ExactResume(optimizer_changes), LastCheckpoint(), *given, *self.watching, *own]
        plugins = config.plugins or []
        config.plugins = [*(plugins if isinstance(plugins, list) else [plugins]), VerifiedCheckpointIO()]
        self.claimed = None
        if config.logger in (None, True):
            config.logger, self.claimed = run_logger(config, self.folder, self.checkpoint, self.trained_steps)
        try:
            trainer = super().instantiate_trainer(**kwargs)
        except BaseException:
            if self.claimed is not None:
                self.claimed.rmdir()
            raise
        if isinstance(trainer.strategy, DDPStrategy) and trainer.strategy._timeout == default_pg_timeout:
            trainer.strategy._timeout = PROCESS_TIMEOUT
        return trainer

    def _own_callbacks(self, config: Namespace) -> list[Callback]:
        """The callbacks that make a run."""
        self.run_folder, self.exact_answer = RunFolder(self.yaml(), self.allowed), ExactAnswer()
        callbacks: list[Callback] = [self.exact_answer, EpochSeed(int(self.config.seed_everything or 0))]
        if config.fast_dev_run:
            return callbacks
        callbacks += [self.run_folder, FitFigure()]
        if config.logger is not False:
            callbacks += [LearningRateMonitor(logging_interval="epoch"), Hyperparameters(self.config.as_dict())]
        if config.enable_checkpointing is not False:
            self.best = BestCheckpoint("train/loss" if config.limit_val_batches == 0 else "val/loss")
            callbacks.append(self.best)
        return callbacks

    def yaml(self) -> str:
        """The complete configuration; training it again reproduces the run."""
        return self.parser.dump(with_plain_values(with_full_paths(self.config)), skip_unset=False)
