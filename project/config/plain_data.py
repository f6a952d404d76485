"""Configurations as plain data: YAML that is safe to read, and settings by their full names; without torch."""

from collections.abc import Mapping
from typing import Any

import yaml

from project.runtime.errors import UserError

MAX_DEPTH, MAX_VALUES = 50, 100_000
DROPPED = ("log_link",)  # was an argument of every model
Value = bool | int | float | str


def read_yaml(text: str, name: str) -> Any:
    """Parse YAML of plain data; after an error, raise a UserError with the name of the source."""
    try:
        check_yaml(text)
        return without_dropped(yaml.safe_load(text))
    except yaml.MarkedYAMLError as error:  # its message may quote the file
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise UserError(f"{name}: not YAML: line {line}: {error.problem}") from error
    except (yaml.YAMLError, ValueError) as error:
        raise UserError(f"{name}: not YAML: {error}") from error


def without_dropped(config: Any) -> Any:
    """Leave out of a configuration what earlier versions wrote about the model and what did nothing."""
    model = config.get("model") if isinstance(config, dict) else None
    if not isinstance(model, dict) or not isinstance(arguments := model.get("init_args"), dict):
        return config
    if not str(model.get("class_path")).startswith("project.models."):
        return config
    kept = {name: value for name, value in arguments.items() if value or name not in DROPPED}
    return config | {"model": model | {"init_args": kept}}


def check_yaml(text: str) -> None:
    """Raise a YAMLError if YAML is nested too deep, or if its aliases unfold to far more than the text.

    Only events are read, and nothing is built: parsers recurse, and aliases of aliases grow exponentially.
    """
    open_sizes: list[tuple[str | None, int]] = []  # anchor and size of each collection that is open
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
                raise yaml.YAMLError(f"alias *{event.anchor} has no anchor before it")
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


def flatten(config: Mapping[str, Any], prefix: str = "") -> dict[str, Value]:
    """Flatten nested settings to dotted names, with classes by their short name and without None."""
    flat: dict[str, Value] = {}
    for key, value in config.items():
        name = prefix if key == "class_path" else f"{prefix}.{key}".lstrip(".").removesuffix(".init_args")
        if isinstance(value, Mapping):
            flat |= flatten(value, name)
        elif key == "class_path":
            flat[name] = str(value).rsplit(".", 1)[-1]
        elif value is not None:
            value = value.tolist() if hasattr(value, "tolist") else value
            flat[name] = value if isinstance(value, Value) else str(value)
    return flat
