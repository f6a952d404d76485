"""A run on disk: `lightning_logs/version_N/` with config.yaml, metrics.json and checkpoints/{best,last}.ckpt."""

import pickle
import zipfile
from argparse import ArgumentError
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import yaml
from jsonargparse import ArgumentParser
from torch import Tensor

from project.config.flag_errors import flag_error
from project.config.trust import allow_imports, require_known
from project.config.yaml import read_yaml
from project.models.supervised import Supervised
from project.nets import Ensemble, LoRA
from project.runs.checkpoint_checks import check_entries, check_files, check_plain
from project.runs.checkpoint_io import verify
from project.runtime.errors import UserError

# Models that learn from a teacher, and the arguments that are about it.
DISTILLED, DISTILLATION = "project.models.Distilled", ("teacher", "labels_weight", "mutual", "temperature")
# A checkpoint carries its run's configuration, and what its data looked like, so that it is enough by itself.
CONFIG_KEY, DATA_KEY = "config", "data"
DATA_ATTRIBUTES = (
    "in_shape",
    "out_features",
    "feature_names",
    "target_names",
    "class_names",
    "window",
    "feature_means",
    "row_counts",
    "fingerprint",
)


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Load a checkpoint as plain data, on the CPU.

    Raises:
        UserError: If it is missing, damaged, not a checkpoint, or not one of this project.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such checkpoint")
    try:
        verify(path)
        with zipfile.ZipFile(path) as archive:
            check_entries(path, archive)
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, zipfile.BadZipFile, ValueError, KeyError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"{path}: not a checkpoint of plain data: {str(error).splitlines()[0]}") from error
    if not isinstance(checkpoint, dict) or not {CONFIG_KEY, DATA_KEY, "state_dict"} <= checkpoint.keys():
        raise UserError(f"{path}: not a checkpoint of this project: train with scripts/train.py to get one")
    check_plain(path, checkpoint)
    check_files(path, checkpoint)
    check_sections(path, checkpoint)
    return checkpoint


def check_sections(path: Path, checkpoint: Mapping[str, Any]) -> None:
    """Raise a UserError unless a checkpoint's own parts are there and of their types."""
    config = read_yaml(str(checkpoint[CONFIG_KEY]), f"{path}: its configuration")
    sections = [config.get(name) for name in ("model", "data", "trainer")] if isinstance(config, dict) else [None]
    parts = [*sections, *(part.get("init_args", {}) for part in sections[:2] if isinstance(part, dict))]
    data, state = checkpoint[DATA_KEY], checkpoint["state_dict"]
    if (
        not all(isinstance(part, dict) for part in (*parts, data, state))
        or not all(isinstance(config[name].get("class_path"), str) for name in ("model", "data"))
        or not set(DATA_ATTRIBUTES) <= data.keys()
        or not all(isinstance(name, str) and isinstance(value, Tensor) for name, value in state.items())
    ):
        raise UserError(f"{path}: not a checkpoint of this project: train with scripts/train.py to get one")


def without_teacher(model: dict[str, Any]) -> dict[str, Any]:
    """The `model` section of a configuration, of what has been learned and not of how: a student's needs no teacher."""
    if not model["class_path"].startswith(DISTILLED):
        return model
    arguments = {name: value for name, value in model["init_args"].items() if name not in DISTILLATION}
    return {"class_path": model["class_path"].replace("Distilled", ""), "init_args": arguments}


def load_model(checkpoint: Mapping[str, Any], trusted: Sequence[str] | None = ()) -> Supervised:
    """The trained model of a checkpoint, in evaluation mode; its data is not needed.

    Adapters are merged into the weights that they are for, and members of an ensemble are modules of their own.

    Args:
        checkpoint: From `read_checkpoint`.
        trusted: Modules whose classes it may name, beside the known ones; None leaves them as they were granted.

    Raises:
        UserError: If it names other classes, or arguments that they do not take.
    """
    if trusted is not None:
        allow_imports(trusted)
    config = without_teacher(yaml.safe_load(checkpoint[CONFIG_KEY])["model"])
    config["init_args"] |= {name: checkpoint[DATA_KEY][name] for name in ("in_shape", "out_features")}
    parser = ArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments(Supervised, "model")
    try:
        parsed = parser.parse_object({"model": config})
        require_known(parsed)
        model = parser.instantiate(parsed).model
    except (ArgumentError, ValueError, TypeError) as error:
        raise flag_error(error, ()) from error
    load_weights(model, checkpoint["state_dict"])
    for ensemble in [module for module in model.modules() if isinstance(module, Ensemble)]:
        ensemble.separate()
    if isinstance(adapted := model.net.net, LoRA):
        model.net.net = adapted.merge()
    return model.eval()


def load_weights(model: Supervised, state: Mapping[str, Tensor]) -> None:
    """Fill a model with weights.

    Raises:
        UserError: If the weights are of another network; the first few that differ are named.
    """
    expected = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    found = {name: tuple(value.shape) for name, value in state.items()}
    if expected != found:
        names = sorted(name for name in expected | found if expected.get(name) != found.get(name))
        listed = "; ".join(f"{n}: model {expected.get(n)}, checkpoint {found.get(n)}" for n in names[:3])
        raise UserError(f"the checkpoint's weights are of another network or other data ({listed})")
    model.load_state_dict(state)
