"""The metadata of an exported file, made from a checkpoint."""

import json
from collections.abc import Mapping
from importlib.metadata import version
from math import prod
from pathlib import Path
from typing import Any

import torch
import yaml
from lightning.pytorch import LightningModule

from project.models.language_model import LanguageModel
from project.models.network import network
from project.nets.scaling import column_shape
from project.runs.checkpoint import CONFIG_KEY, DATA_KEY
from project.runs.intervals import read_intervals
from project.runs.threshold import threshold_of
from project.runtime.errors import UserError
from project.serving.metadata import FORMAT, LANGUAGE, Metadata

CHECKPOINTS = "checkpoints"


def describe(path: Path, checkpoint: Mapping[str, Any], model: LightningModule) -> Metadata:
    """Collect what is needed to predict with the model of a checkpoint, to evaluate it and to serve it."""
    data = checkpoint[DATA_KEY]
    if data["in_shape"] is None:
        raise UserError(f"{path}: its data has no rows of one shape, which predictions and export need")
    in_shape = tuple(data["in_shape"])
    net = network(model, in_shape, data["out_features"]).net
    numbers, fields = in_shape[-1] if data["window"] else prod(in_shape), data.get("fields")
    task = "regression" if data["class_names"] is None else "classification"
    if is_text := isinstance(model, LanguageModel):
        task = LANGUAGE
        saved_tokenizer(path, data)
    return {
        "format": FORMAT,
        "version": version("hello-lightning"),
        "task": task,
        "net": type(getattr(net, "module", net)).__name__,
        "in_shape": list(in_shape),
        "out_features": data["out_features"],
        "dynamic_length": is_text or (len(in_shape) == 2 and net.accepts((in_shape[0] + 1, in_shape[1]))),
        "feature_names": data["feature_names"] if fields else row_names(data["feature_names"], numbers),
        "target_names": data["target_names"],
        "class_names": data["class_names"],
        "window": data["window"],
        "feature_means": [] if is_text else _means(data, in_shape, numbers),
        "fields": fields,
        "target_offsets": data.get("target_offsets"),
        "intervals": read_intervals(run_folder(path)),
        "threshold": threshold_of(run_folder(path), model),
        "missing": yaml.safe_load(checkpoint[CONFIG_KEY])["data"].get("init_args", {}).get("missing", "error"),
        "precision": "float32",
        "run": str(run_folder(path) if path.parent.name == CHECKPOINTS else path),
        "config": checkpoint[CONFIG_KEY],
        "metrics": saved_metrics(run_folder(path)),
    }


def saved_tokenizer(path: Path, data: Mapping[str, Any]) -> dict[str, Any]:
    """Return the description of the tokenizer in a checkpoint's facts about its data.

    Raises:
        UserError: If there is none.
    """
    field: dict[str, Any] = (data.get("fields") or [{}])[0]
    if "tokenizer" not in field:
        raise UserError(f"{path}: its data has no tokenizer; train it with --data TextDataModule")
    tokenizer: dict[str, Any] = field["tokenizer"]
    return tokenizer


def _means(data: Mapping[str, Any], in_shape: tuple[int, ...], numbers: int) -> list[float]:
    """Return the training mean of each feature name, zeros if they are unknown."""
    fields = data.get("fields")
    known = data["feature_means"] if fields is None or len(data["feature_means"]) == len(fields) else None
    means = torch.tensor(known or [0.0] * (len(fields) if fields else numbers))  # unknown for data from outside
    if not data["window"] and known and fields is None:  # images have one mean per channel
        means = means.view(column_shape(in_shape)).expand(in_shape).flatten()
    values: list[float] = means.tolist()
    return values


def row_names(names: list[str], numbers: int) -> list[str]:
    """Return a name for each number of a row: the data module's names if there are as many, otherwise x0, x1, …."""
    return names if len(names) == numbers else [f"x{index}" for index in range(numbers)]


def run_folder(checkpoint: Path) -> Path:
    """Return the folder of a checkpoint's run, or the checkpoint's own folder if it is not in a run."""
    return checkpoint.parents[1] if checkpoint.parent.name == CHECKPOINTS else checkpoint.parent


def saved_metrics(folder: Path) -> dict[str, float]:
    """Return the test metrics in a run's metrics.json; empty if there is no such file."""
    path = folder / "metrics.json"
    metrics = json.loads(path.read_text()) if path.is_file() else {}
    return {name: value for name, value in metrics.items() if name.startswith("test/") and value is not None}
