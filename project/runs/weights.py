"""Trained weights, from wherever they lie: a run, a checkpoint or a safetensors file."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from jsonargparse import Namespace
from torch import Tensor

from project.nets.net import Net
from project.nets.pruned import narrow
from project.nets.scaling import Standardized
from project.nets.widths import widths
from project.runs.checkpoint import DATA_KEY, load_model, read_checkpoint
from project.runs.folder import LATEST, find_checkpoint
from project.runtime.errors import UserError

# Of a file of adapters: what its weights are beside, and the names of the two factors of a change.
BASE, DIGEST, SCALE, ADAPTED = "base", "base_sha256", "scale", ("lora_down", "lora_up")


class Weights(NamedTuple):
    """What a training can start from.

    Attributes:
        state: Tensors by name, as in a model's `state_dict`: `net.net.…` of the network, `net.features.…` and
            `net.targets.…` of standardisation. Adapters are merged, and members of an ensemble apart.
        data: What the weights were trained on, as checkpoints keep it; empty where that is not known.
    """

    state: dict[str, Tensor]
    data: Mapping[str, Any]


def read_weights(reference: str, like: Net | None = None) -> Weights:
    """Weights by a user's args.

    Args:
        reference: A run folder, a checkpoint, `last`, or a `.safetensors` file, of all weights or of adapters.
        like: The same net with fewer units: the least important ones of a run's are left out.

    Raises:
        UserError: If there are none, or the net is not the same.
    """
    if reference.endswith(".safetensors"):
        return _read_safetensors(Path(reference))
    checkpoint = read_checkpoint(find_checkpoint(reference))
    model = load_model(checkpoint, trusted=None)
    if like is not None:
        try:
            narrow(model.net.net, {name: width.units for name, width in widths(like).items()})
        except ValueError as error:
            raise UserError(f"--weights.narrow: {reference}: {error}") from error
    return Weights(model.state_dict(), checkpoint[DATA_KEY])


def resolve_last(config: Namespace, root: Path) -> None:
    """Name the run that `last` means now, among those that a configuration learns from: later it means another one.

    Args:
        config: Of a training; changed in place.
        root: Folder of runs.
    """
    for section, key in ((config.weights, "path"), (config.model.init_args, "teacher")):
        if value := section.get(key):
            many = isinstance(value, list)
            named = [_latest(root) if each == LATEST else each for each in (value if many else [value])]
            section[key] = named if many else named[0]


def _latest(root: Path) -> str:
    return str(find_checkpoint(LATEST, root=root).parents[1])


def load_teacher(reference: str, data: Any) -> Standardized:
    """The net of a run, to learn from it.

    Args:
        reference: A run folder, a checkpoint, or `last`.
        data: The data module of who learns.

    Raises:
        UserError: If it computes something else, or from something else.
    """
    checkpoint = read_checkpoint(find_checkpoint(reference))
    for name in ("target_names", "class_names"):
        if (teacher_outputs := checkpoint[DATA_KEY][name]) != (learned := getattr(data, name, None)):
            raise UserError(
                f"--model.teacher {reference}: its {name} are {teacher_outputs}, and the student's {learned}"
            )
    net = load_model(checkpoint, trusted=None).net
    if not net.net.accepts(data.in_shape):
        raise UserError(
            f"--model.teacher {reference}: takes rows of {net.net.in_shape}, and the student's are {data.in_shape}"
        )
    return net


def digest(state: Mapping[str, Tensor]) -> str:
    """SHA-256 of weights with their names."""
    found = hashlib.sha256()
    for name in sorted(state):
        found.update(name.encode() + state[name].contiguous().numpy().tobytes())
    return found.hexdigest()


def _read_safetensors(path: Path) -> Weights:
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        raise UserError(f"{path}: no such file")
    try:
        with safe_open(path, framework="pt") as file:
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (it is no dict)
            facts = file.metadata() or {}
            data = json.loads(facts.get("data", "{}"))
    except (SafetensorError, ValueError, OSError) as error:
        raise UserError(f"{path}: not a safetensors file, or damaged: {error}") from error
    if BASE in facts:
        state = merge_adapter(path, state, facts)
    return Weights(state, data if isinstance(data, dict) else {})


def merge_adapter(path: Path, learned: Mapping[str, Tensor], facts: Mapping[str, str]) -> dict[str, Tensor]:
    """Adapters merged into the weights that they were learned beside."""
    state = dict(read_weights(facts[BASE]).state)
    if digest(state) != facts.get(DIGEST):
        raise UserError(f"{path}: {facts[BASE]} has other weights than those that it adapts")
    for name, value in learned.items():
        weight, _, factor = name.rpartition(".")
        if factor == ADAPTED[0]:
            change = float(facts[SCALE]) * (learned[f"{weight}.{ADAPTED[1]}"] @ value)
            state[weight] = state[weight] + change.view_as(state[weight])
        elif factor != ADAPTED[1]:
            state[name] = value
    return state
