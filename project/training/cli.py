"""The training command: every argument of model, data, optimizer, scheduler and Trainer is a flag."""

import argparse
from argparse import ArgumentError
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import yaml
from jsonargparse import ArgumentParser, Namespace
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import LightningDataModule, LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI, LRSchedulerTypeTuple

import project.data
import project.nets  # noqa: F401  (jsonargparse finds a class by its short name once it is imported)
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
from project.callbacks.user_callbacks import stop_timers_after_epochs, user_callbacks
from project.config.command_line import prepare_arguments
from project.config.flag_errors import CONSTRUCTING, ConstructorError, construct, flag_error, flag_names, raised_in
from project.config.flag_parser import FlagParser
from project.config.trust import require_known, with_trust
from project.config.yaml import with_full_paths, with_plain_values, yaml_of
from project.data.datamodule import RowsDataModule
from project.data.plain import PlainDataModule
from project.data.sampling import Sampling
from project.models.distillation import Distillation
from project.models.network import supervised
from project.runs.checkpoint import CONFIG_KEY, read_checkpoint
from project.runs.checkpoint_checks import check_progress
from project.runs.folder import LAST, ROOT, find_checkpoint
from project.runs.resume import ResumePoint, restarted_run, resume_point
from project.runs.weights import load_teacher, resolve_last
from project.runtime.errors import UserError
from project.training.flags import DESCRIPTION, USAGE, check_flags, remaining_defaults
from project.training.plain_model import has_own_optimizer, purposes_of_net, takes_shape, use_optimizer
from project.training.trainer import complete_trainer, run_logger, with_short_timeout


class ExperimentCLI(LightningCLI):
    """Parses flags and YAML, and builds `model`, `datamodule` and `trainer` from them; see `train` for its arguments.

    Attributes:
        resumed: The point from which training continues.
        run_folder: Callback that writes the run's folder.
        exact_answer: Callback that compares what was learned with exact least squares.
        pretrained: Callback that loads pretrained weights.
        best: Callback that keeps the best checkpoint; None if the run has no checkpoints.
        claimed: The new folder that was made for the run; None if there is none.
    """

    model: LightningModule
    trainer: Trainer

    def __init__(
        self,
        args: Sequence[str],
        callbacks: Sequence[Callback] = (),
        folder: Path | None = None,
        config: Mapping[str, Any] | None = None,
    ) -> None:
        self.argv = prepare_arguments(with_trust(args), has_settings=bool(config))
        self.configs = [config] if config else []
        self.extra_callbacks, self.folder = callbacks, folder
        self.resumed = ResumePoint()
        self.best: BestCheckpoint | None = None
        self.claimed: Path | None = None
        parser_kwargs = {"exit_on_error": False, "allow_abbrev": False, "usage": USAGE, "description": DESCRIPTION}
        try:
            super().__init__(
                LightningModule,
                LightningDataModule,
                subclass_mode_model=True,
                subclass_mode_data=True,
                save_config_callback=None,
                seed_everything_default=0,
                parser_class=FlagParser,
                parser_kwargs=parser_kwargs,
                load_from_checkpoint_support=False,
                run=False,
            )
        except (ArgumentError, ValueError, TypeError, MisconfigurationException, ConstructorError) as error:
            if raised_in(error).startswith("project.training"):  # a defect, or already a UserError
                raise
            raise flag_error(error, flag_names(self.parser)) from error

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add the project's own arguments to those of Lightning."""
        parser.add_argument("--ckpt_path", type=str | None, help="Resume from a checkpoint, a run folder, or `last`.")
        parser.add_argument(
            "--resume.allow", nargs="+", default=[], help="Settings that may differ from those of the resumed run."
        )
        parser.add_argument(
            "--lifecycle", type=dict[str, Any] | None, help="Settings of scripts/lifecycle.py; ignored here."
        )
        sections = {"epoch_line": EpochLine, "weights": Pretrained, "finetuning": Finetuning, "pruning": Pruning}
        for section, callback in sections.items():
            parser.add_lightning_class_args(callback, section)
        parser.add_class_arguments(Sampling, "sampling")
        parser.add_optimizer_args((torch.optim.Optimizer,))
        parser.add_lr_scheduler_args(LRSchedulerTypeTuple)
        for name in ("optimizer", "lr_scheduler"):
            parser.link_arguments(name, f"model.init_args.{name}")
        for size in ("in_shape", "out_features"):
            parser.link_arguments(f"data.{size}", f"model.init_args.{size}", apply_on="instantiate")

    def parse_arguments(self, parser: ArgumentParser, args: Any) -> None:
        """Parse the args; a resumed run brings its own configuration, which the args override."""
        scan = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
        scan.add_argument("--ckpt_path")
        scan.add_argument("--trainer.default_root_dir", dest="root", default=".")
        scanned, others = scan.parse_known_args(self.argv)
        settings = {key: value for config in self.configs for key, value in config.items()} | yaml_of(self.argv)
        defaults = remaining_defaults(others, settings)
        parser.set_defaults(defaults)
        root = Path(scanned.root) / ROOT
        if reference := scanned.ckpt_path or settings.get("ckpt_path"):
            self._resume(find_checkpoint(reference, LAST, root))
        else:
            self.config = self._parse(self.argv, *self.configs)
            resolve_last(self.config, root)
            self.config.config = None  # as in the saved configuration, with which it is compared
            if (restarted := restarted_run(root, self.yaml)) is not None:
                self._resume(restarted)
        stop_timers_after_epochs(self.config.trainer)
        if "optimizer" in defaults and has_own_optimizer(self.config.model.class_path):
            self.config.optimizer = None
        check_flags(self.config, self.argv, resumed=self.resumed.checkpoint is not None)
        self.config.config = self.config.ckpt_path = self.config.lifecycle = None
        self.allowed, self.config.resume.allow = self.config.resume.allow, []
        require_known(self.config)

    def _parse(self, args: Sequence[str], *configs: Mapping[str, Any]) -> Namespace:
        """Parse args that override configurations, each of which overrides those before it."""
        base = None
        for config in configs:
            base = self.parser.parse_object(dict(config), namespace=base, defaults=False)
        return self.parser.parse_args(args, namespace=base)

    def _resume(self, path: Path) -> None:
        checkpoint = read_checkpoint(path)
        check_progress(str(path), checkpoint)
        saved = yaml.safe_load(checkpoint[CONFIG_KEY])
        self.config = self._parse(self.argv, saved, *self.configs)
        self.resumed = resume_point(path, checkpoint, self._parse([], saved), self.config)

    def instantiate_classes(self) -> None:
        """Build the data module, the model with its optimizer, and the Trainer."""

        def build(data_class: type[LightningDataModule], *args: Any, **kwargs: Any) -> LightningDataModule:
            data, sampling = construct(data_class, *args, **kwargs), Sampling(**self.config.sampling)
            if not isinstance(data, RowsDataModule):
                if sampling.is_active:
                    raise UserError(f"--data {data_class.__name__}: --sampling needs a data module of this project")
                plain = PlainDataModule(data, int(self.config.seed_everything or 0))
                if takes_shape(self.config.model.class_path):
                    _ = plain.in_shape, plain.out_features  # the parser would only say that the model needs them
                return plain
            data.sampling = sampling  # before the model asks for the shape of the rows
            return data

        instantiators = [(build, LightningDataModule, True), CONSTRUCTING]
        self.config_init = self.parser.instantiate(self.config, instantiators=instantiators)
        self.datamodule, self.model = self.config_init.data, self.config_init.model
        if isinstance(self.model, Distillation):  # before the optimizer: a peer is trained, too
            self.model.set_teacher(load_teacher(self.config.model.init_args.teacher, self.datamodule))
        use_optimizer(self.model, self.config_init)
        for purpose in purposes_of_net(self.config):
            supervised(self.model, purpose)
        self.trainer = self.instantiate_trainer()

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """Build the Trainer, with the logger and the callbacks of a run."""
        config = self.config_init.trainer
        complete_trainer(config)
        if self.resumed.is_finished:  # by EarlyStopping, perhaps, before it reached max_epochs
            config.max_epochs = self.resumed.epochs
        self.pretrained: Pretrained = self.config_init.weights
        self.pretrained.choose_parts(self.datamodule)
        self.config.weights.reinitialize = self.pretrained.reinitialize
        self.config_init.finetuning.reinitialized = self.pretrained.reinitialize or []
        callbacks = self._callbacks(config)
        if config.logger in (None, True):
            config.logger, self.claimed = run_logger(config, self.folder, self.resumed)
        try:
            trainer = super().instantiate_trainer(**kwargs | {"callbacks": [*callbacks]})
            if (strategy := with_short_timeout(config, trainer.strategy)) is not None:
                trainer = super().instantiate_trainer(**kwargs | {"callbacks": [*callbacks], "strategy": strategy})
            return trainer
        except BaseException:
            if self.claimed is not None:
                self.claimed.rmdir()
            raise

    def _callbacks(self, config: Namespace) -> list[Callback]:
        self.run_folder, self.exact_answer = RunFolder(self.yaml(), self.allowed), ExactAnswer()
        max_steps, config.max_steps = config.max_steps, -1
        if max_steps != -1 and config.max_epochs is None:
            config.max_epochs = -1
        callbacks: list[Callback] = [
            # First: a resumed run repeats what the others do at the start of a batch.
            ExactResume(self.resumed.optimizer_changes),
            LastCheckpoint(max_steps),
            *user_callbacks(config, self.resumed.checkpoint is not None, self.resumed.is_finished),
            *self.extra_callbacks,
            self.exact_answer,
            EpochSeed(int(self.config.seed_everything or 0)),
        ]
        if config.fast_dev_run:
            return callbacks
        callbacks += [self.run_folder, FitFigure()]
        if config.logger is not False:
            callbacks.append(Hyperparameters(self.config.as_dict()))
        if config.enable_checkpointing is not False:
            self.best = BestCheckpoint("train/loss" if config.limit_val_batches == 0 else "val/loss")
            callbacks.append(self.best)
        return callbacks

    def yaml(self) -> str:
        """Return the complete configuration; training with it reproduces the run."""
        return self.parser.dump(with_plain_values(with_full_paths(self.config)), skip_unset=False)
