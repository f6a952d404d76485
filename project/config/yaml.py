"""The configuration of a run, as YAML and as flags."""

import os
from collections.abc import Mapping, Sequence
from enum import Enum
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
import yaml
from jsonargparse import Namespace, get_loader, set_loader

from project.runtime.errors import UserError

MAX_DEPTH, MAX_VALUES = 50, 100_000
Value = bool | int | float | str
SECTIONS = (
    "seed_everything",
    "model",
    "data",
    "sampling",
    "weights",
    "finetuning",
    "pruning",
    "optimizer",
    "lr_scheduler",
)


def read_yaml(text: str, name: str) -> Any:
    """Plain data out of YAML.

    Args:
        text: YAML.
        name: Where it comes from, for errors.

    Raises:
        UserError: If it is not YAML, makes other than plain data, or is nested too deep or unfolds to too much.
    """
    try:
        check_yaml(text)
        return yaml.safe_load(text)
    except (yaml.YAMLError, ValueError) as error:
        raise UserError(f"{name}: not YAML: {error}") from error


def check_yaml(text: str) -> None:
    """Raise a YAMLError where YAML is nested too deep, or its aliases make it stand for far more than its text.

    Events are followed without building anything: parsers of YAML recurse, and references to references multiply.
    """
    open_sizes: list[tuple[str | None, int]] = []  # anchors and sizes of the collections around an event
    sizes: dict[str, int] = {}  # by anchor
    for event in yaml.parse(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
        if isinstance(event, yaml.CollectionStartEvent):
            open_sizes.append((event.anchor, 1))
            if len(open_sizes) > MAX_DEPTH:
                raise yaml.YAMLError(f"nested deeper than {MAX_DEPTH} levels")
            continue
        if isinstance(event, yaml.CollectionEndEvent):
            anchor, size = open_sizes.pop()
        elif isinstance(event, yaml.AliasEvent):
            if event.anchor not in sizes:
                raise yaml.YAMLError(f"there is no *{event.anchor} before its use")
            anchor, size = None, sizes[event.anchor]
        elif isinstance(event, yaml.ScalarEvent):
            anchor, size = event.anchor, 1
        else:
            continue
        if anchor is not None:
            sizes[anchor] = size
        if open_sizes:
            open_sizes[-1] = (open_sizes[-1][0], open_sizes[-1][1] + size)
        if size > MAX_VALUES or (open_sizes and open_sizes[-1][1] > MAX_VALUES):
            raise yaml.YAMLError(f"unfolds to more than {MAX_VALUES} values")


def _load_checked(text: str) -> Any:
    check_yaml(text)
    return _load_yaml(text)


_load_yaml = get_loader("yaml")
# Files that a configuration names in place of a section are read by jsonargparse alone.
set_loader("yaml", _load_checked, (yaml.YAMLError,))


def yaml_of(args: Sequence[str]) -> dict[str, Any]:
    """What the YAML files (or texts) among flags hold at their top level."""
    found: dict[str, Any] = {}
    for flag, value in pairwise([*args, ""]):
        if not flag.startswith(("--config", "-c")):
            continue
        value = flag.split("=", 1)[1] if "=" in flag else value
        name, text = ("--config", value) if "\n" in value else (value, _text_of(value))
        sections = read_yaml(text, name)
        if not isinstance(sections, dict | None):
            raise UserError(f"{name}: holds no settings")
        found |= sections or {}
    return found


def _text_of(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8") if Path(path).is_file() else ""
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path[:200]}: not a file of text: {error}") from error


def with_plain_values(config: Namespace) -> Namespace:
    """A configuration whose defaults are as YAML can say them: Lightning has some that are devices or enumerations."""
    config = config.clone()
    for key, value in config.items():
        if isinstance(value, Enum):
            config[key] = value.value
        elif isinstance(value, torch.device):
            config[key] = str(value)
        elif isinstance(value, list):
            config[key] = [with_plain_values(item) if isinstance(item, Namespace) else item for item in value]
    return config


def with_full_paths(config: Namespace) -> Namespace:
    """A configuration whose files are found from any folder."""
    config = config.clone()
    places = [(config.data.init_args, name) for name in ("path", "val_path", "test_path")]
    places += [(config.model.init_args, "teacher")]
    places += [(config[section], name) for section, name in (("weights", "path"), ("sampling", "unlabelled_path"))]
    for section, name in places:
        if isinstance(paths := section.get(name), list):
            section[name] = [os.path.realpath(path) for path in paths]
        elif paths:
            section[name] = os.path.realpath(paths)  # Path.resolve dislikes loops
    return config


def flatten(config: Mapping[str, Any], prefix: str = "") -> dict[str, Value]:
    """Nested settings as one level of dotted names; classes by their short name, None left out."""
    flat: dict[str, Value] = {}
    for key, value in config.items():
        name = prefix if key == "class_path" else f"{prefix}.{key}".lstrip(".").removesuffix(".init_args")
        if isinstance(value, Mapping):
            flat |= flatten(value, name)
        elif key == "class_path":
            flat[name] = str(value).rsplit(".", 1)[-1]
        elif value is not None:
            flat[name] = value if isinstance(value, Value) else str(value)
    return flat
