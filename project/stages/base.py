"""What a stage begins with: the settings of a finished run, and its weights."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from project.config.trust import granted
from project.runs.checkpoint import CONFIG_KEY, read_checkpoint, without_teacher
from project.runs.folder import find_checkpoint
from project.runtime.errors import UserError
from project.runtime.logging import quiet_lightning
from project.training.cli import ExperimentCLI
from project.training.train import train

Config = dict[str, Any]
LINEAR = {"class_path": "project.nets.Linear"}
# What was about one training, and not about what it was a training of.
PER_RUN_SECTIONS = ("weights", "finetuning", "pruning", "resume", "ckpt_path")
NO_RESUME = {"ckpt_path": "it begins a run of its own: leave it out; scripts/train.py resumes"}
NO_WEIGHTS = NO_RESUME | {"weights.path": "it takes the weights of the run that it is given: leave it out"}


def stage_config(reference: str, *kept: str) -> Config:
    """The settings of a run as a stage takes them over: what is learned from what, by which net, how.

    Adapters are merged into the net, members of an ensemble have modules of their own, and a student has no teacher.

    Args:
        reference: A run folder, a checkpoint, or `last`.
        kept: Sections about the run's training that go on in the stage.
    """
    config: Config = yaml.safe_load(read_checkpoint(find_checkpoint(reference))[CONFIG_KEY])
    for section in set(PER_RUN_SECTIONS) - set(kept):
        config.pop(section, None)
    if config["trainer"].get("logger") is not False:
        config["trainer"]["logger"] = None  # a new run has a folder of its own
    if config["trainer"]["max_epochs"] == 0:  # of a run that took weights over
        del config["trainer"]["max_epochs"]
    config["model"] = without_teacher(config["model"])
    if config["model"]["class_path"] == "project.models.LinearRegression":  # which solves, and trains nothing
        config["model"] = {"class_path": "project.models.Regression", "init_args": {"net": dict(LINEAR)}}
    net = config["model"]["init_args"].get("net")
    if net is not None and net["class_path"] == "project.nets.LoRA":
        net = net["init_args"]["net"]
        config["model"]["init_args"]["net"] = net
    if net is not None and net["class_path"] == "project.nets.Ensemble":
        net["init_args"]["vectorize"] = False
    return config


class _Settings(ExperimentCLI):
    """Parses, and builds nothing."""

    def instantiate_classes(self) -> None:
        """Leave everything as it is written."""


def parse(args: Sequence[str]) -> Config:
    """The complete settings that flags of scripts/train.py stand for."""
    quiet_lightning()
    settings: Config = yaml.safe_load(_Settings(args).yaml())
    return settings


def require_run(trainer: Mapping[str, Any]) -> None:
    """Raise a UserError where a Trainer's settings leave no run to go on with or to compare."""
    for name, usual in {"logger": True, "enable_checkpointing": True, "fast_dev_run": False}.items():
        if trainer[name] not in (usual, None):
            raise UserError(f"--trainer.{name}: each training is to be a run with curves and checkpoints: leave it out")


def trust_flags() -> list[str]:
    """Flags that trust the modules which the args parsed last have trusted; a configuration cannot."""
    return [f"--trust={module}" for module in granted()]


def train_on(config: Config, references: str | list[str], args: Sequence[str]) -> dict[str, float]:
    """Train as a configuration says, from the weights of a run.

    Args:
        config: From `stage_config`.
        references: The run, or the runs of an ensemble's members.
        args: Flags of scripts/train.py that go beyond it.

    Returns:
        What metrics.json holds.
    """
    paths = [references] if isinstance(references, str) else references
    found = [str(find_checkpoint(path).resolve()) for path in paths]
    config = config | {"weights": {"path": found[0] if isinstance(references, str) else found}}
    require_weights(config, args)
    return train_as(config, args)


def require_weights(config: Config, args: Sequence[str]) -> None:
    """Raise a UserError where a YAML among flags of scripts/train.py takes the place of a stage's weights."""
    path = config["weights"]["path"]
    if parse(["--config", yaml.safe_dump(config), *args])["weights"]["path"] != path:
        raise UserError("--config: it says weights.path, and weights are those of the run: leave `weights` out of it")


def train_as(config: Config, args: Sequence[str] = (), folder: Path | None = None) -> dict[str, float]:
    """Train as a configuration says, but for what flags of scripts/train.py say; in a folder of its own where given."""
    return train(["--config", yaml.safe_dump(config), *args], folder=folder)
