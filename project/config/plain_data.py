"""Configurations as plain data, without torch: safe reading of YAML, and settings with dotted names."""

from collections.abc import Mapping
from typing import Any

import yaml

from project.runtime.errors import UserError

MAX_DEPTH, MAX_VALUES = 50, 100_000
DROPPED = ("log_link",)  # an argument that all models had in earlier versions
Value = bool | int | float | str


def read_yaml(text: str, name: str) -> Any:
    """Parse YAML of plain data.

    Raises:
        UserError: If the text is not YAML. The error has the name of the source and the line.
    """
    try:
        check_yaml(text)
        return without_dropped(yaml.safe_load(text))
    except yaml.MarkedYAMLError as error:  # its full message may quote the file, which may contain secrets
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise UserError(f"{name}: not YAML: line {line}: {error.problem}") from error
    except (yaml.YAMLError, ValueError) as error:
        raise UserError(f"{name}: not YAML: {error}") from error


def without_dropped(config: Any) -> Any:
    """Remove arguments of the model that earlier versions wrote to configurations and that had no effect."""
    model = config.get("model") if isinstance(config, dict) else None
    if not isinstance(model, dict) or not isinstance(arguments := model.get("init_args"), dict):
        return config
    if not str(model.get("class_path")).startswith("project.models."):
        return config
    kept = {name: value for name, value in arguments.items() if value or name not in DROPPED}
    return config | {"model": model | {"init_args": kept}}


def check_yaml(text: str) -> None:
    """Check that YAML is not nested too deeply, and that its aliases do not expand to far more than the text.

    This reads only the events of the parser, because constructors recurse, and aliases of aliases grow exponentially.

    Raises:
        yaml.YAMLError: If it does.
    """
    open_sizes: list[tuple[str | None, int]] = []  # anchor and size of each open collection
    sizes: dict[str, int] = {}  # number of values by anchor
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
            raise yaml.YAMLError(f"expands to more than {MAX_VALUES} values")


def flatten(config: Mapping[str, Any], prefix: str = "") -> dict[str, Value]:
    """Flatten nested settings to dotted names. Classes get their short names, and None is left out."""
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
