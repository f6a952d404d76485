"""The start of a stage: the settings of a finished run, and its weights."""

from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from project.config.trust import granted
from project.runs.checkpoint import read_checkpoint, saved_config, without_teacher, without_weights
from project.runs.folder import find_checkpoint
from project.runtime.errors import UserError
from project.runtime.logging import quiet_lightning
from project.training.cli import ExperimentCLI
from project.training.train import train

Config = dict[str, Any]
LINEAR = {"class_path": "project.nets.Linear"}
SOLVER = "project.models.LinearRegression"
# Sections that belong to a single training and that a stage does not inherit.
PER_RUN_SECTIONS = ("weights", "finetuning", "pruning", "resume", "ckpt_path")
# Flags that a stage refuses, with the reason.
NO_RESUME = {"ckpt_path": "a stage starts a new run; remove it, or resume a run with scripts/train.py"}
NO_NAME = {"name": "this command names its runs itself; remove it"}
NO_WEIGHTS = NO_RESUME | {"weights.path": "a stage uses the weights of the run that you pass; remove it"}


class StageSkipped(UserError):  # noqa: N818
    """The stage has nothing to do for this model. A pipeline reports the reason and continues."""


def stage_config(reference: str, *inherited: str) -> Config:
    """Return the settings of a run with which a stage starts: model, data, optimizer and Trainer.

    Adapters are merged into the net, the members of an ensemble become separate modules, and a student's teacher is
    removed. Of the `PER_RUN_SECTIONS`, only those in `inherited` are kept.
    """
    path = find_checkpoint(reference)
    config: Config = saved_config(path, read_checkpoint(path))
    for section in set(PER_RUN_SECTIONS) - set(inherited):
        config.pop(section, None)
    if config["trainer"].get("logger") is not False:
        config["trainer"]["logger"] = None  # the logger would write into the folder of the earlier run
    if config["trainer"]["max_epochs"] == 0:  # the run only loaded weights
        del config["trainer"]["max_epochs"]
    config["model"] = {"init_args": {}} | without_weights(without_teacher(config["model"]))
    config["model"]["init_args"].pop("reference", None)  # the reference of further training is the run itself
    if config["model"]["class_path"] == SOLVER:  # it cannot be trained further
        config["model"] = {"class_path": "project.models.Regression", "init_args": {"net": dict(LINEAR)}}
    net = config["model"]["init_args"].get("net")
    if net is not None and net["class_path"] == "project.nets.LoRA":
        net = net["init_args"]["net"]
        config["model"]["init_args"]["net"] = net
    if net is not None and net["class_path"] == "project.nets.Ensemble":
        net["init_args"]["vectorize"] = False
    return config


class _Settings(ExperimentCLI):
    """Parses settings without building anything."""

    def instantiate_classes(self) -> None:
        """Build nothing."""


def parse(args: Sequence[str], config: Config | None = None) -> Config:
    """Return the complete settings that flags of scripts/train.py stand for, on top of a configuration."""
    quiet_lightning()
    settings: Config = yaml.safe_load(_Settings(args, config=config).settings.yaml())
    return settings


def require_run(trainer: Mapping[str, Any]) -> None:
    """Raise a UserError if the Trainer's settings would leave no curves or checkpoints."""
    for name, default in {"logger": True, "enable_checkpointing": True, "fast_dev_run": False}.items():
        if trainer[name] not in (default, None):
            raise UserError(f"--trainer.{name}: the stage needs runs with curves and checkpoints; remove it")


def trust_flags() -> list[str]:
    """Return `--trust` flags for the modules that are trusted now, which a configuration does not contain."""
    return [f"--trust={module}" for module in granted()]


def train_on(config: Config, references: str | list[str], args: Sequence[str]) -> dict[str, float]:
    """Train with the given settings, starting from the weights of a run, or of an ensemble's members."""
    paths = [references] if isinstance(references, str) else references
    found = [str(find_checkpoint(path).resolve()) for path in paths]
    config = config | {"weights": {"path": found[0] if isinstance(references, str) else found}}
    require_weights(config, args)
    return train(args, config=config)


def require_weights(config: Config, args: Sequence[str]) -> None:
    """Raise a UserError if a YAML file among the flags replaces the weights of the stage."""
    if parse(args, config)["weights"]["path"] != config["weights"]["path"]:
        raise UserError("--config: sets weights.path, but a stage uses the weights of the run; remove `weights`")
