"""Pretrained weights from a run, a checkpoint or a safetensors file."""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from jsonargparse import Namespace
from torch import Tensor

from project.data.datamodule import RowsDataModule
from project.data.images import ImageDataModule
from project.data.tokens import TokensDataModule
from project.models.network import network, supervised
from project.nets.net import Net
from project.nets.pruned import narrow
from project.nets.scaling import Standardized
from project.nets.widths import widths
from project.public_weights.source import LazyState
from project.runs.checkpoint import DATA_KEY, load_model, read_checkpoint
from project.runs.folder import LATEST, find_checkpoint
from project.runtime.errors import UserError
from project.schema import Schema
from project.text import tokenizer_from_dict

# Metadata of an adapter file, and the suffixes of the two factors of a weight update.
BASE, DIGEST, SCALE, ADAPTED = "base", "base_sha256", "scale", ("lora_down", "lora_up")


Restored = TypeVar("Restored")


class Weights(NamedTuple):
    """Pretrained weights.

    Attributes:
        state: Tensors by name, as in a model's `state_dict`: `net.net.…` belong to the network, `net.features.…` and
            `net.targets.…` to standardisation. Adapters are merged, and the members of an ensemble are separate.
        data: Facts about the training data, as in a checkpoint; empty if they are unknown.
    """

    state: Mapping[str, Tensor]
    data: Mapping[str, Any]


def read_weights(reference: str, like: Net | None = None, lazy: bool = False) -> Weights:
    """Read pretrained weights.

    Args:
        reference: A run folder, a checkpoint, `last`, or a `.safetensors` file of all weights or of adapters.
        like: If given, the same net with fewer units: the least important units of the run are removed.
        lazy: Whether to read each tensor of a public model only when it is accessed.

    Raises:
        UserError: If there are no weights, or they belong to a different net.
    """
    if reference.endswith(".safetensors"):
        return _read_safetensors(Path(reference))
    checkpoint = read_checkpoint(find_checkpoint(reference))
    if lazy and like is None and isinstance(state := checkpoint["state_dict"], LazyState):
        return Weights(state, checkpoint[DATA_KEY])
    model = supervised(load_model(checkpoint, trusted=None), "pretrained weights")
    if like is not None:
        try:
            narrow(model.net.net, {name: width.units for name, width in widths(like).items()})
        except ValueError as error:
            raise UserError(f"--weights.narrow: {reference}: {error}") from error
    return Weights(model.state_dict(), checkpoint[DATA_KEY])


def resolve_last(config: Namespace, root: Path) -> None:
    """Replace `last` in a configuration, in place, by the run that is currently the newest."""
    model = config.model.get("init_args", {})
    for section, key in ((config.weights, "path"), (model, "teacher"), (model, "reference")):
        if value := section.get(key):
            runs = value if isinstance(value, list) else [value]
            if LATEST in runs:
                latest = str(find_checkpoint(LATEST, root=root).parents[1])
                runs = [latest if run == LATEST else run for run in runs]
                section[key] = runs if isinstance(value, list) else runs[0]


def pretrained_facts(path: str | list[str] | None) -> Mapping[str, Any]:
    """Return facts about the data of pretrained weights, as in a checkpoint; empty if they are unknown."""
    if path is None:
        return {}
    first = path if isinstance(path, str) else path[0]
    if first.endswith(".safetensors"):
        return _read_safetensors(Path(first)).data
    return read_checkpoint(find_checkpoint(first))[DATA_KEY]


def coding(fields: Sequence[dict[str, Any]] | None) -> list[tuple[str, str, list[str]]] | None:
    """Return name, kind and levels of each column, from a schema as plain data; None if all columns are numbers.

    For text, the tokenizer takes the place of the levels.
    """
    if fields is not None and is_text(fields):
        tokenizers = ({**field["tokenizer"], "chat_template": None} for field in fields)
        return [("text", "text", [json.dumps(tokenizer, sort_keys=True)]) for tokenizer in tokenizers]
    schema = None if fields is None else _schema(fields)
    return None if schema is None or schema.is_plain else schema.coding


def is_text(fields: Sequence[Mapping[str, Any]]) -> bool:
    """Whether a schema as plain data describes text."""
    return any(field.get("kind") == "text" for field in fields)


def _schema(fields: Sequence[dict[str, Any]]) -> Schema:
    return _restore("schema", lambda: Schema.from_list(fields))


def _restore(part: str, build: Callable[[], Restored]) -> Restored:
    """Return what a function builds from the data of a run; if it fails, the message says which part is damaged."""
    try:
        return build()
    except UserError:
        raise
    except (ValueError, LookupError, TypeError) as error:
        raise UserError(f"--data: the {part} of the run is damaged ({error}); train it again") from error


def use_schema(data: RowsDataModule, facts: Mapping[str, Any]) -> None:
    """Encode the rows of a data module with the schema or the tokenizer of another run if it has the same columns.

    The network of that run expects its levels, means, offsets and token ids.

    Args:
        data: The data module.
        facts: Facts about the data of the other run, as in its checkpoint.

    Raises:
        UserError: If the schema or the tokenizer is damaged.
    """
    fields = facts.get("fields")
    if fields is None or data.schema is not None or isinstance(data, TokensDataModule) != is_text(fields):
        return
    if isinstance(data, TokensDataModule):
        data.known = _restore("tokenizer", lambda: tokenizer_from_dict(fields[0]["tokenizer"])).to_dict()
        return
    schema = _schema(fields)
    has_images = any(field.kind == "image" for field in schema.fields)
    if schema.field_names == data.feature_names and has_images == isinstance(data, ImageDataModule):
        data.schema = schema
        data.target_offsets = facts.get("target_offsets") if facts["target_names"] == data.target_names else None


def load_reference(reference: str, data: Any) -> Standardized:
    """Load the net of a run as the reference of preference learning, with the context length of a data module.

    Raises:
        UserError: If its tokens differ from those of the data module.
    """
    return load_teacher(reference, data, "--model.reference", in_shape=data.in_shape)


def load_teacher(reference: str, data: Any, flag: str = "--model.teacher", **facts_of_data: Any) -> Standardized:
    """Load the net of a run as a teacher.

    Raises:
        UserError: If its inputs or outputs differ from those of the student, which the data module determines.
    """
    checkpoint = read_checkpoint(find_checkpoint(reference))
    checkpoint[DATA_KEY] |= facts_of_data
    sizes = tuple(checkpoint[DATA_KEY]["in_shape"]), checkpoint[DATA_KEY]["out_features"]
    net = network(load_model(checkpoint, trusted=None), *sizes)
    facts = {name: (checkpoint[DATA_KEY][name], getattr(data, name, None)) for name in ("target_names", "class_names")}
    facts["target_offsets"] = checkpoint[DATA_KEY].get("target_offsets"), getattr(data, "target_offsets", None)
    facts["columns"] = coding(checkpoint[DATA_KEY].get("fields")), coding(getattr(data, "fields", None))
    if not net.accepts(data.in_shape):
        facts["in_shape"] = net.in_shape, data.in_shape
    for name, (teachers, students) in facts.items():
        if teachers != students:
            raise UserError(f"{flag} {reference}: its {name} is {teachers}, but the student's is {students}")
    return net


def digest(state: Mapping[str, Tensor]) -> str:
    """Return the SHA-256 of the names and the values of weights."""
    sha256 = hashlib.sha256()
    for name in sorted(state):
        sha256.update(name.encode() + state[name].contiguous().numpy().tobytes())
    return sha256.hexdigest()


def _read_safetensors(path: Path) -> Weights:
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        raise UserError(f"{path}: no such file")
    try:
        with safe_open(path, framework="pt") as file:
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
            facts = file.metadata() or {}
            data = json.loads(facts.get("data", "{}"))
    except (SafetensorError, ValueError, OSError) as error:
        raise UserError(f"{path}: not a safetensors file, or a damaged one: {error}") from error
    if BASE in facts:
        state = merge_adapter(path, state, facts)
    return Weights(state, data if isinstance(data, dict) else {})


def merge_adapter(path: Path, learned: Mapping[str, Tensor], facts: Mapping[str, str]) -> dict[str, Tensor]:
    """Return the weights of the base run with adapters merged into them.

    Raises:
        UserError: If the weights of the base run have changed.
    """
    state = dict(read_weights(facts[BASE]).state)
    if digest(state) != facts.get(DIGEST):
        raise UserError(
            f"{path}: the weights of {facts[BASE]} have changed since the adapters were trained; restore that run"
        )
    for name, value in learned.items():
        weight, _, factor = name.rpartition(".")
        if factor == ADAPTED[0]:
            change = float(facts[SCALE]) * (learned[f"{weight}.{ADAPTED[1]}"] @ value)
            state[weight] = state[weight] + change.view_as(state[weight])
        elif factor != ADAPTED[1]:
            state[name] = value
    return state
