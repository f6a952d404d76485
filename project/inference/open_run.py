"""Open a finished run to compute with it."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from project.config.flag_errors import FlagError, refuse_flags
from project.config.plain_data import read_yaml
from project.inference.metadata import row_names, run_folder
from project.inference.predictor import is_artifact
from project.models.classification import Classification
from project.runs.checkpoint import (
    DATA_KEY,
    data_facts,
    load_weights,
    read_checkpoint,
    saved_config,
    without_teacher,
    without_weights,
)
from project.runs.folder import find_checkpoint
from project.runs.threshold import threshold_of
from project.runtime.address import local_path
from project.runtime.errors import UserError
from project.runtime.logging import quiet_lightning
from project.serving.artifact import Artifact
from project.serving.text_artifact import load_artifact
from project.training.cli import ExperimentCLI

# Sections of flags that have no effect on predictions.
TRAINING_FLAGS = ("model", "optimizer", "lr_scheduler", "weights", "finetuning", "pruning", "ckpt_path", "resume")


def open_run(reference: str, args: Sequence[str] = ()) -> ExperimentCLI:
    """Open a trained model with its data and a Trainer that writes nothing, all on one device.

    Args:
        reference: A run folder, a checkpoint, `last`, or an `.onnx` file, which then computes the outputs.
        args: Flags of scripts/train.py that override the run's own, such as `--data.path other.csv`.
    """
    quiet_lightning()
    if is_artifact(reference):
        artifact = load_artifact(local_path(reference), threads=torch.get_num_threads())
        cli = _build(reference, _config_of(artifact), artifact.metadata, args)
        use_artifact(cli, artifact)
        return _with_threshold(cli, artifact.metadata.get("threshold"))
    path = find_checkpoint(reference)
    checkpoint = read_checkpoint(path)
    cli = _build(reference, saved_config(path, checkpoint), checkpoint[DATA_KEY], args)
    load_weights(cli.model, checkpoint["state_dict"])
    return _with_threshold(cli, threshold_of(run_folder(path), cli.model))


def _with_threshold(cli: ExperimentCLI, threshold: float | None) -> ExperimentCLI:
    """Return an opened run whose metrics are those of the decisions with a threshold."""
    if isinstance(cli.model, Classification):
        cli.model.decide_at(threshold)
    return cli


def _build(reference: str, config: dict[str, Any], recorded: Mapping[str, Any], args: Sequence[str]) -> ExperimentCLI:
    """Build a run from its configuration, on data with the names that the checkpoint or file records."""
    refuse_flags(args, dict.fromkeys(TRAINING_FLAGS, "cannot change a trained model; remove it"))
    data = config["data"].get("init_args", {})
    if "features" in data and data["features"] is None:  # the columns of the run's own table, not all of another one
        data["features"] = recorded["feature_names"]
    config["model"] = without_weights(without_teacher(config["model"]))
    for section in ("weights", "finetuning", "pruning"):  # only for training
        config.pop(section, None)
    config["trainer"] |= {"logger": False, "callbacks": None, "devices": 1, "strategy": "auto", "num_nodes": 1}
    if config["trainer"]["accelerator"] != "cpu":
        config["trainer"]["accelerator"] = "auto"  # a GPU that trained it may not be here
    config["trainer"]["max_epochs"] = 1  # unset in a run of imported weights
    config["trainer"]["profiler"] = None  # it would write to a path of the checkpoint's choice
    cli = ExperimentCLI(args, config=config, facts=recorded)
    facts = data_facts(cli.datamodule)
    for name in ("feature_names", "target_names", "class_names"):
        value = facts[name]
        if value is None and recorded[name] is None:
            continue
        if (row_names(value or [], len(recorded[name])) if name == "feature_names" else value) != recorded[name]:
            raise UserError(f"the data's {name} are {value}, but {reference} was trained on {recorded[name]}")
    return cli


def _config_of(artifact: Artifact) -> dict[str, Any]:
    """Return the configuration in an exported file, after checking that its main sections exist."""
    config = read_yaml(artifact.metadata["config"], f"{artifact.path}: its configuration")
    sections = [config.get(name, {}) for name in ("model", "data")] if isinstance(config, dict) else [{}]
    if not (
        all(isinstance(part, dict) and isinstance(part.get("class_path"), str) for part in sections)
        and all(isinstance(part, dict) for part in (config.get("trainer"), *(s.get("init_args") for s in sections)))
    ):
        raise UserError(f"{artifact.path}: its configuration is damaged; export the run again")
    return config


def use_artifact(cli: ExperimentCLI, artifact: Artifact) -> None:
    """Make a run's model compute the outputs of an exported file."""

    def forward(x: Tensor) -> Tensor:
        return torch.from_numpy(artifact.predict(x.cpu().numpy())["outputs"]).to(x.device)

    cli.model.forward = forward  # type: ignore[method-assign]


def open_rows(reference: str, args: Sequence[str], purpose: str) -> ExperimentCLI:
    """Same as `open_run`, for a command whose users may not expect that it reads data.

    Raises:
        UserError: If the data cannot be read; `purpose` says in the message what they are needed for.
    """
    try:
        run = open_run(reference, args)
        _ = run.datamodule.splits
    except FlagError:
        raise
    except (UserError, OSError) as error:
        raise UserError(
            f"{reference}: cannot read the rows {purpose} ({error}); set their location with --data.path or the like"
        ) from error
    return run
