"""A finished run, ready to be worked with."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import yaml
from torch import Tensor

from project.config.flag_errors import FlagError, refuse_flags
from project.config.yaml import read_yaml
from project.inference.metadata import row_names
from project.inference.predictor import is_artifact
from project.runs.checkpoint import CONFIG_KEY, DATA_KEY, load_weights, read_checkpoint, without_teacher
from project.runs.folder import find_checkpoint
from project.runtime.errors import UserError
from project.runtime.logging import quiet_lightning
from project.serving.artifact import Artifact
from project.training.cli import ExperimentCLI

# What has no part in answers.
TRAINED = ("model", "optimizer", "lr_scheduler", "weights", "finetuning", "pruning", "ckpt_path", "resume")


def open_run(reference: str, args: Sequence[str] = ()) -> ExperimentCLI:
    """A trained model with its data and a Trainer that writes nothing, all on one device.

    Args:
        reference: A run folder, a checkpoint, `last`, or an `.onnx` file: its model computes what the file computes.
        args: Flags of scripts/train.py that override the run's own, such as `--data.path other.csv`.
    """
    quiet_lightning()
    if is_artifact(reference):
        artifact = Artifact(reference, threads=torch.get_num_threads())
        cli = _build(reference, _config_of(artifact), artifact.metadata, args)
        compute_by(cli, artifact)
        return cli
    checkpoint = read_checkpoint(find_checkpoint(reference))
    cli = _build(reference, yaml.safe_load(checkpoint[CONFIG_KEY]), checkpoint[DATA_KEY], args)
    load_weights(cli.model, checkpoint["state_dict"])
    return cli


def _build(reference: str, config: dict[str, Any], facts: Mapping[str, Any], args: Sequence[str]) -> ExperimentCLI:
    """What a configuration says, on data that are as the facts say."""
    refuse_flags(args, dict.fromkeys(TRAINED, "what was trained stays as it is: leave it out"))
    data = config["data"]["init_args"]
    if "features" in data and data["features"] is None:  # all columns, of the run's table and not of any other
        data["features"] = facts["feature_names"]
    config["model"] = without_teacher(config["model"])
    for section in ("weights", "finetuning", "pruning"):  # of a training that is over
        config.pop(section, None)
    config["trainer"] |= {"logger": False, "callbacks": None, "devices": 1, "strategy": "auto", "num_nodes": 1}
    config["trainer"]["max_epochs"] = 1  # a run of weights that were taken over has none
    config["trainer"]["profiler"] = None  # it would write where the checkpoint says
    cli = ExperimentCLI(args, config=config)
    found = {name: getattr(cli.datamodule, name, None) for name in ("feature_names", "target_names", "class_names")}
    found["feature_names"] = row_names(found["feature_names"] or [], len(facts["feature_names"]))
    for name, value in found.items():
        if value != facts[name]:
            raise UserError(f"the data's {name} are not those that {reference} was trained on: {facts[name]}")
    return cli


def _config_of(artifact: Artifact) -> dict[str, Any]:
    """The configuration in an artifact, with at least the parts that all configurations have."""
    config = read_yaml(artifact.metadata["config"], f"{artifact.path}: its configuration")
    sections = [config.get(name, {}) for name in ("model", "data")] if isinstance(config, dict) else [{}]
    if not (
        all(isinstance(part, dict) and isinstance(part.get("class_path"), str) for part in sections)
        and all(isinstance(part, dict) for part in (config.get("trainer"), *(s.get("init_args") for s in sections)))
    ):
        raise UserError(f"{artifact.path}: its configuration is damaged: export the run again")
    return config


def compute_by(cli: ExperimentCLI, artifact: Artifact) -> None:
    """Have a model say what a file says."""

    def forward(x: Tensor) -> Tensor:
        return torch.from_numpy(artifact.predict(x.cpu().numpy())["outputs"]).to(x.device)

    cli.model.forward = forward  # type: ignore[method-assign]


def open_rows(reference: str, args: Sequence[str], purpose: str) -> ExperimentCLI:
    """As `open_run`, for a command whose user may not expect that it needs data.

    Raises:
        UserError: If they cannot be read; it says what they are for.
    """
    try:
        run = open_run(reference, args)
        _ = run.datamodule.splits
    except FlagError:
        raise
    except (UserError, OSError) as error:
        raise UserError(
            f"{reference}: the rows {purpose} cannot be read ({error}): say where they are now, as with --data.path"
        ) from error
    return run
