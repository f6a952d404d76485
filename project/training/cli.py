"""The training command: every argument of model, data, optimizer, scheduler and Trainer is a flag."""

from argparse import ArgumentError
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from jsonargparse import ArgumentParser
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
    Finetuning,
    FoundSettings,
    Pretrained,
    Pruning,
    RunFolder,
    TextAnswer,
)
from project.config.command_line import prepare_arguments
from project.config.flag_errors import CONSTRUCTING, ConstructorError, flag_error, flag_names, raised_in
from project.config.flag_parser import FlagParser
from project.config.trust import with_trust
from project.data.sampling import Sampling
from project.models.distillation import Distillation
from project.models.network import supervised
from project.models.preferences import DPO
from project.runs.checkpoint import SIZES
from project.runs.weights import load_reference, load_teacher
from project.runtime.environment import job_problem
from project.runtime.errors import UserError
from project.training.flags import DESCRIPTION, GROUP_TITLES, USAGE
from project.training.plain_code import data_instantiator, flags_for_net, use_optimizer
from project.training.settings import Settings, resolve, validate
from project.training.trainer import (
    build_trainer,
    complete_trainer,
    loop_callbacks,
    recording_callbacks,
    use_run_logger,
)

# Exceptions that parsing and building raise, mostly because of a user's mistake.
MISTAKES = (ArgumentError, ValueError, TypeError, RuntimeError, MisconfigurationException, ConstructorError)


class Experiment(NamedTuple):
    """A training as its settings describe it.

    Attributes:
        model: The model, with its optimizer.
        datamodule: The data.
        trainer: The Trainer, with the callbacks below among others.
        run_folder: Callback that writes the run's folder.
        exact_answer: Callback that compares what was learned with exact least squares.
        text_answer: Callback that compares a language model with other methods.
        pretrained: Callback that loads pretrained weights.
        best: Callback that keeps the best checkpoint; None if the run has no checkpoints.
        claimed: The folder that was created for a new run; None for a resumed run, or without the run's logger.
    """

    model: LightningModule
    datamodule: Any  # a RowsDataModule or a PlainDataModule
    trainer: Trainer
    run_folder: RunFolder
    exact_answer: ExactAnswer
    text_answer: TextAnswer
    pretrained: Pretrained
    best: BestCheckpoint | None
    claimed: Path | None


def build(settings: Settings, extra: Sequence[Callback] = (), folder: Path | None = None) -> Experiment:
    """Build the data module, the model with its optimizer, and the Trainer with the logger and callbacks of a run.

    Args:
        settings: Valid settings.
        extra: Callbacks that are not part of the configuration.
        folder: Folder of the run; by default that of `--name`, or the next `lightning_logs/version_N`.
    """
    config, resumed = settings.config, settings.resumed
    instantiators = [data_instantiator(config, settings.known_facts()), CONSTRUCTING]
    built = settings.parser.instantiate(config, instantiators=instantiators)
    model, data, trainer = built.model, built.data, built.trainer
    if isinstance(model, Distillation):  # before the optimizer is built, because a peer is trained, too
        model.set_teacher(load_teacher(config.model.init_args.teacher, data))
    if isinstance(model, DPO):
        config.model.init_args.reference = reference = config.model.init_args.reference or config.weights.path
        if reference is None:
            raise UserError("--model DPO: has no reference; run scripts/finetune.py with a trained run")
        model.set_reference(load_reference(reference, data))
    use_optimizer(model, built)
    for flag in flags_for_net(config):
        supervised(model, flag)
    complete_trainer(trainer, resumed)
    pretrained: Pretrained = built.weights
    pretrained.choose_parts(data)
    config.weights.reinitialize = pretrained.reinitialize  # saved with the configuration
    built.finetuning.reinitialized = pretrained.reinitialize or []
    run_folder, answers = RunFolder(settings.yaml(), settings.allowed), (ExactAnswer(), TextAnswer())
    recorders = recording_callbacks(trainer, model, run_folder, config.as_dict(), answers[1])
    sections = [built.epoch_line, pretrained, built.finetuning, built.pruning]
    seed = EpochSeed(int(config.seed_everything or 0))
    found = FoundSettings(config, settings.yaml)
    callbacks = [*loop_callbacks(trainer, model, resumed), found, *extra, *answers, seed, *recorders, *sections]
    claimed = use_run_logger(trainer, folder or settings.folder, resumed)
    best = next((callback for callback in recorders if isinstance(callback, BestCheckpoint)), None)
    return Experiment(
        model, data, build_trainer(trainer, callbacks, claimed), run_folder, *answers, pretrained, best, claimed
    )


class ExperimentCLI(LightningCLI):
    """Resolve flags and YAML to settings, validate them, and build the experiment that they describe.

    The arguments are those of `train`.

    Attributes:
        settings: The settings that flags and YAML files stand for.
        experiment: The objects that the settings describe; `model`, `datamodule` and `trainer` are among them.
    """

    settings: Settings
    experiment: Experiment
    model: LightningModule
    trainer: Trainer

    def __init__(
        self,
        args: Sequence[str],
        callbacks: Sequence[Callback] = (),
        folder: Path | None = None,
        config: Mapping[str, Any] | None = None,
        facts: Mapping[str, Any] | None = None,
    ) -> None:
        self.argv = prepare_arguments(with_trust(args), has_settings=bool(config))
        self.configs = [config] if config else []
        self.extra_callbacks, self.folder, self.facts = callbacks, folder, facts or {}
        parser_kwargs = {"exit_on_error": False, "allow_abbrev": False, "usage": USAGE, "description": DESCRIPTION}
        try:
            super().__init__(
                LightningModule,
                LightningDataModule,
                subclass_mode_model=True,
                subclass_mode_data=True,
                save_config_callback=None,
                parser_class=FlagParser,
                parser_kwargs=parser_kwargs,
                load_from_checkpoint_support=False,
                run=False,
            )
        except MISTAKES as error:
            if problem := job_problem(error):
                raise UserError(problem) from error
            module = raised_in(error)
            if module.startswith("lightning.fabric.plugins.environments"):
                raise UserError(str(error)) from error
            if module.startswith("project.training") or isinstance(error, RuntimeError):
                raise  # a defect, or already a UserError
            raise flag_error(error, flag_names(self.parser)) from error
        except ModuleNotFoundError as missing:  # for an optional feature of Lightning
            if not raised_in(missing).startswith("lightning"):
                raise
            raise UserError(f"--trainer: {missing}; or remove the setting that needs it") from missing

    def add_default_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add the seed."""
        parser.add_argument(
            "--seed_everything", type=bool | int, default=0, help="Seed of weights, splits and batches."
        )

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add the project's own arguments to those of Lightning."""
        parser.add_argument("--ckpt_path", type=str | None, help="Resume from a checkpoint, a run folder, or `last`.")
        parser.add_argument("--name", type=str | None, help="Name of the run's folder in lightning_logs.")
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
        for name, group in (parser.groups or {}).items():
            group.title = GROUP_TITLES.get(name, group.title)
        for size in SIZES:
            parser.link_arguments(f"data.{size}", f"model.init_args.{size}", apply_on="instantiate")

    def parse_arguments(self, parser: ArgumentParser, args: Any) -> None:
        """Resolve and validate the settings."""
        settings = resolve(self.argv, parser, self.configs)
        self.settings = settings._replace(facts=settings.facts or self.facts)
        self.config = self.settings.config
        validate(self.settings)

    def instantiate_classes(self) -> None:
        """Build the data module, the model and the Trainer."""
        self.experiment = build(self.settings, self.extra_callbacks, self.folder)
        self.model, self.datamodule, self.trainer = self.experiment[:3]
