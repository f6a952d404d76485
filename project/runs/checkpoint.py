"""Reading checkpoints, and loading the models in them."""

import os
import pickle
import sys
import zipfile
from argparse import ArgumentError
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import yaml
from jsonargparse import ArgumentParser
from lightning.pytorch import LightningModule
from torch import Tensor

from project.config.flag_errors import CONSTRUCTING, ConstructorError, flag_error
from project.config.plain_data import read_yaml, without_dropped
from project.config.trust import allow_imports, require_known
from project.models.supervised import Supervised
from project.nets import Ensemble, LoRA
from project.public_weights.model import is_public
from project.public_weights.source import LazyState
from project.runs.checkpoint_checks import check_entries, check_files, check_plain
from project.runs.checkpoint_io import verify
from project.runs.folder import find_checkpoint
from project.runs.public import public_checkpoint
from project.runtime.address import is_remote
from project.runtime.errors import UserError

# Prefix of the models that learn from a teacher, and their arguments for distillation.
DISTILLED, DISTILLATION = "project.models.Distilled", ("teacher", "labels_weight", "mutual", "temperature")
# Keys of a checkpoint. It is self-contained: it has the configuration of its run and facts about the data.
CONFIG_KEY, DATA_KEY, FOLDER_KEY = "config", "data", "folder"
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


# Checkpoints of earlier versions lack these facts.
SCHEMA_ATTRIBUTES = ("levels", "fields", "token_bytes", "target_offsets")
SIZES = ("in_shape", "out_features", "levels", "token_bytes")  # facts that are arguments of models


def data_facts(data: Any) -> dict[str, Any]:
    """Return the facts about a data module that a checkpoint stores; None for attributes that it does not have."""
    return {name: getattr(data, name, None) for name in DATA_ATTRIBUTES + SCHEMA_ATTRIBUTES}


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Load a checkpoint of this project as plain data, on the CPU.

    Public weights are returned as a checkpoint whose weights are read on access.

    Raises:
        UserError: If there is no such file, or it is not a checkpoint of this project.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such checkpoint")
    if is_public(path):
        return public_checkpoint(path)
    verify(path)
    try:
        with zipfile.ZipFile(path) as archive:
            check_entries(archive, path.stat().st_size)
        checkpoint: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        check_plain(checkpoint, path.stat().st_size)
        check_files(checkpoint)
    except (pickle.UnpicklingError, RuntimeError, EOFError, zipfile.BadZipFile, ValueError, KeyError) as error:
        raise UserError(f"{path}: not a checkpoint of this project: {str(error).splitlines()[0]}") from error
    if not _is_complete(path, checkpoint):
        raise UserError(f"{path}: not a checkpoint of this project; train with scripts/train.py to get one")
    return checkpoint


def saved_config(path: Path, checkpoint: Mapping[str, Any]) -> dict[str, Any]:
    """Return the configuration in a checkpoint. If a table was moved together with the run, its path is updated.

    Args:
        path: The checkpoint's file.
        checkpoint: What `read_checkpoint` returns for it.
    """
    config: dict[str, Any] = without_dropped(yaml.safe_load(checkpoint[CONFIG_KEY]))
    before, now = checkpoint.get(FOLDER_KEY), os.path.realpath(path.absolute().parents[1])
    if not isinstance(before, str) or before == now:
        return config
    for section in (config["data"].get("init_args") or {}, config.get("sampling") or {}):
        for name, value in section.items():
            if not (name.endswith("path") and isinstance(value, str)) or is_remote(value) or Path(value).exists():
                continue
            moved = os.path.normpath(os.path.join(now, os.path.relpath(value, before)))  # noqa: PTH118 (from `..`)
            if Path(moved).exists():
                print(f"warning: {value} is missing; reading {moved}, moved together with the run", file=sys.stderr)
                section[name] = moved
    return config


def _is_complete(path: Path, checkpoint: Any) -> bool:
    """Whether a checkpoint has all parts that this project writes, with the right types."""
    if not isinstance(checkpoint, dict):
        return False
    config: Any = read_yaml(str(checkpoint.get(CONFIG_KEY)), f"{path}: its configuration")
    data: Any = checkpoint.get(DATA_KEY)
    state: Any = checkpoint.get("state_dict")
    if not (isinstance(config, dict) and isinstance(data, dict) and isinstance(state, dict)):
        return False
    classes: list[Any] = [config.get("model"), config.get("data")]
    return (
        all(isinstance(part, dict) for part in (*classes, config.get("trainer")))
        and all(isinstance(part.get("class_path"), str) for part in classes)
        and all(isinstance(part.get("init_args", {}), dict) for part in classes)
        and set(DATA_ATTRIBUTES) <= data.keys()
        and all(isinstance(name, str) and isinstance(value, Tensor) for name, value in state.items())
    )


def without_teacher(model: dict[str, Any]) -> dict[str, Any]:
    """Return the `model` section of a configuration without distillation, since a trained student needs no teacher."""
    if not model["class_path"].startswith(DISTILLED):
        return model
    arguments = {name: value for name, value in model["init_args"].items() if name not in DISTILLATION}
    return {"class_path": model["class_path"].replace("Distilled", ""), "init_args": arguments}


def without_weights(model: dict[str, Any]) -> dict[str, Any]:
    """Return the `model` section of a configuration without pretrained weights, which the weights of a run replace."""
    net = model.get("init_args", {}).get("net")
    if not isinstance(net, dict) or "weights" not in net.get("init_args", {}):
        return model
    net = net | {"init_args": net["init_args"] | {"weights": None}}
    return model | {"init_args": model["init_args"] | {"net": net}}


def load_model(checkpoint: Mapping[str, Any], trusted: Sequence[str] | None = ()) -> LightningModule:
    """Return the trained model of a checkpoint in evaluation mode, without its data.

    Adapters are merged into the weights of the net, and the members of an ensemble become separate modules.

    Args:
        checkpoint: What `read_checkpoint` returned.
        trusted: Modules outside the known ones whose classes may be imported; None for those that are trusted already.

    Raises:
        UserError: If the checkpoint names a class of another module, or arguments that its class does not have.
    """
    if trusted is not None:
        allow_imports(trusted)
    config = without_weights(without_teacher(without_dropped(yaml.safe_load(checkpoint[CONFIG_KEY]))["model"]))
    parser = ArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments(LightningModule, "model", skip={"optimizer", "lr_scheduler"}, fail_untyped=False)
    parser.add_class_arguments(_facts(checkpoint[DATA_KEY]), "facts")
    for size in SIZES:  # jsonargparse passes on those that are in the signature of the model
        parser.link_arguments(f"facts.{size}", f"model.init_args.{size}", apply_on="instantiate")
    try:
        parsed = parser.parse_object({"model": config})
        require_known(parsed)
        model = parser.instantiate(parsed, instantiators=[CONSTRUCTING]).model
    except (ArgumentError, ValueError, TypeError, ConstructorError) as error:
        raise flag_error(error, ()) from error
    load_weights(model, checkpoint["state_dict"])
    for ensemble in [module for module in model.modules() if isinstance(module, Ensemble)]:
        ensemble.separate()
    if isinstance(model, Supervised) and isinstance(adapted := model.net.net, LoRA):
        model.net.net = adapted.merge()
    return model.eval()


def _facts(data: Mapping[str, Any]) -> type:
    """Return a class whose instances have the sizes of the data as attributes, which jsonargparse does not check.

    As ordinary arguments, it would check long lists item by item.
    """

    class Facts:
        def __init__(self) -> None:
            vars(self).update({name: data.get(name) for name in SIZES})

    return Facts


def load_run(reference: str) -> LightningModule:
    """Return the trained model of a run folder, a checkpoint, or `last`, in evaluation mode."""
    return load_model(read_checkpoint(find_checkpoint(reference)), trusted=None)


def load_weights(model: LightningModule, state: Mapping[str, Tensor]) -> None:
    """Load weights into a model.

    Raises:
        UserError: If they belong to another model. The error names up to three differences.
    """
    is_lazy = isinstance(state, LazyState)
    mismatch: type[Exception] = ValueError if is_lazy else RuntimeError  # torch raises a RuntimeError
    try:
        if isinstance(state, LazyState):
            state.copy_to(model)
        else:
            model.load_state_dict(state)
    except mismatch as error:
        problem = str(error) if is_lazy else _differences(model.state_dict(), state)
        raise UserError(f"the weights belong to another network or other data ({problem})") from error


def _differences(expected: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> str:
    """Return up to three differences between the names and shapes of weights."""
    model, checkpoint = ({name: tuple(value.shape) for name, value in state.items()} for state in (expected, found))
    names = sorted(name for name in model | checkpoint if model.get(name) != checkpoint.get(name))
    return "; ".join(f"{n}: model {model.get(n)}, checkpoint {checkpoint.get(n)}" for n in names[:3])
