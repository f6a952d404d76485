"""Reading and writing configurations as YAML."""

import contextlib
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from enum import Enum
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
import yaml
from jsonargparse import Namespace, get_loader, set_dumper, set_loader
from jsonargparse.typing import register_type

from project.config.class_names import KINDS, class_path
from project.config.plain_data import check_yaml, read_yaml, without_dropped
from project.runtime.address import expand_home, full_address, remove_credentials
from project.runtime.errors import UserError
from project.text.corpus import CORPORA

SECTIONS = (
    *("seed_everything", "model", "data", "sampling", "weights"),
    *("finetuning", "pruning", "optimizer", "lr_scheduler"),
)
# Sections that may not be null. In others, such as `optimizer`, null is a valid value.
GROUPS = ("trainer", "model", "data", "sampling", "weights", "finetuning", "pruning", "epoch_line", "resume")


def _load_checked(text: str) -> Any:
    check_yaml(text)
    return _resolved(without_dropped(_load_yaml(text)))


def _resolved(value: Any, key: str = "") -> Any:
    """Expand `~/` and `$HOME/`, and the names of known classes for which jsonargparse would read a file."""
    if isinstance(value, dict):
        return {name: _resolved(part, str(name)) for name, part in value.items()}
    if isinstance(value, list):
        return [_resolved(part, key) for part in value]
    if not isinstance(value, str):
        return value
    return class_path(key if key in KINDS else "", expand_home(value))


def _load_yaml(text: str) -> Any:
    try:
        return _load(text)
    except TypeError:  # jsonargparse raises it for a lone `?`, which is an empty key in YAML
        return text
    except ValueError as error:  # PyYAML raises it for `._` and the like, which it takes for a number
        raise yaml.YAMLError(str(error)) from error


class _Dumper(yaml.SafeDumper):
    """Quotes every text that some version of YAML reads as a number.

    PyYAML writes the text `1e3` without quotes, and jsonargparse reads it as a number.
    """


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    try:
        is_quoted = not isinstance(_load_yaml(text), str)
    except yaml.YAMLError:
        is_quoted = True
    with contextlib.suppress(ValueError):
        is_quoted = is_quoted or bool(float(text))
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="'" if is_quoted else None)


def _dump(data: Any) -> str:
    return yaml.dump(data, Dumper=_Dumper, default_flow_style=False, allow_unicode=True, sort_keys=False)


def _tensor(value: Any) -> torch.Tensor:
    """Convert a list of numbers, such as class weights, to a tensor."""
    try:
        return torch.tensor(value, dtype=torch.float64)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError("must be a list of numbers, such as [1.0, 5.0]") from error


register_type(torch.Tensor, serializer=torch.Tensor.tolist, deserializer=_tensor)
_Dumper.add_representer(str, _represent_text)
set_dumper("yaml", _dump)
_load = get_loader("yaml")
# jsonargparse reads the files that a configuration names in place of sections, so the check belongs in its loader.
set_loader("yaml", _load_checked, (yaml.YAMLError,))


def yaml_of(args: Sequence[str]) -> dict[str, Any]:
    """Return the sections in all `--config` flags, whose values are YAML files or texts.

    Raises:
        UserError: If a value is not YAML, or a section in it is null.
    """
    found: dict[str, Any] = {}
    for flag, value in pairwise([*args, ""]):
        if not flag.startswith(("--config", "-c")):
            continue
        value = expand_home(flag.split("=", 1)[1] if "=" in flag else value)
        if flag.split("=")[0] in ("--config", "-c") and value and not _is_yaml_text(value):
            _require_file(value)
        sections = require_settings(value)
        name = "--config" if "\n" in value else value
        if empty := next((key for key in GROUPS if sections and sections.get(key, key) is None), None):
            raise UserError(f"{name}: {empty}: has no settings below it; add some, or remove the line")
        found |= sections or {}
    return found


def require_settings(value: str) -> dict[str, Any] | None:
    """Return the settings in a YAML file, or in YAML text (several lines, or in braces); None if there are none.

    Raises:
        UserError: If it is not YAML, or not a mapping.
    """
    name, text = ("--config", value) if _is_yaml_text(value) else (value, _text_of(value))
    settings = read_yaml(text, name)
    if not isinstance(settings, dict | None):
        raise UserError(f"{name}: no settings in it; expected YAML with names and values, as in `max_epochs: 5`")
    return settings


def _is_yaml_text(value: str) -> bool:
    return "\n" in value or value.startswith("{")


def _require_file(value: str) -> None:
    """Raise a UserError if there is no such file; it suggests one with a similar name."""
    path = Path(value)
    with contextlib.suppress(OSError):  # a name that is too long
        if path.exists():
            return
    runs = sorted(Path("lightning_logs").glob("*/config.yaml"), key=lambda found: -found.stat().st_mtime)
    known = [*path.parent.glob("*.y*ml"), *Path("scripts/experiments").glob("*.yaml"), *runs]
    names = {found.stem: found for found in reversed(known)}
    near = get_close_matches(path.stem, names, n=1)
    hint = f"did you mean --config {names[near[0]]}?" if near else "pass a YAML file, as in --config experiment.yaml"
    raise UserError(f"--config {value}: no such file; {hint}")


def _text_of(path: str) -> str:
    try:
        if Path(path).is_fifo():  # a pipe can be read only once
            raise UserError(f"{path}: not a regular file; a configuration is read twice")
        return Path(path).read_text(encoding="utf-8") if Path(path).is_file() else ""
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path[:200]}: not a text file: {error}") from error


def with_plain_values(config: Namespace) -> Namespace:
    """Replace values that YAML cannot represent, such as devices and enumerations, and remove credentials."""
    config = config.clone()
    for key, value in config.items():
        if isinstance(value, str | Mapping):
            config[key] = remove_credentials(value)
        elif isinstance(value, Enum):
            config[key] = value.value
        elif isinstance(value, torch.device):
            config[key] = str(value)
        elif isinstance(value, list):
            parts = [with_plain_values(item) if isinstance(item, Namespace) else item for item in value]
            config[key] = remove_credentials(parts)
    return config


def with_full_paths(config: Namespace) -> Namespace:
    """Make the addresses in a configuration absolute, and remove the credentials in them."""
    config = config.clone()
    places = [(config.data.get("init_args", {}), name) for name in ("path", "val_path", "test_path")]
    places += [(config.model.get("init_args", {}), "teacher")]
    places += [(config[section], name) for section, name in (("weights", "path"), ("sampling", "unlabelled_path"))]
    net = config.model.get("init_args", {}).get("net")
    if isinstance(net, Namespace) and net.get("class_path") == "project.nets.Backbone":
        places.append((net.init_args, "weights"))
    if str(config.data.get("init_args", {}).get("tokenizer")).endswith(".json"):
        places.append((config.data.init_args, "tokenizer"))
    for section, name in places:
        if isinstance(paths := section.get(name), list):
            section[name] = [full_address(path) for path in paths]
        elif paths and paths not in CORPORA:
            section[name] = full_address(paths)
    return config


def run_settings(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the sections that describe a run, without the values that the parser copies from other sections."""
    sections = {name: config.get(name) for name in SECTIONS}
    if model := sections["model"]:
        copied = ("optimizer", "lr_scheduler")
        arguments = {name: value for name, value in model.get("init_args", {}).items() if name not in copied}
        sections["model"] = {"class_path": model["class_path"], "init_args": arguments}
    return sections
