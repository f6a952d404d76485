"""A run as an experiment: the settings with which `scripts/train.py --config` trains it again, without defaults."""

import inspect
import pkgutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from project.runtime.files import atomic_write
from project.stages.base import Config, parse

SECTIONS = ("seed_everything", "model", "data", "optimizer", "lr_scheduler", "trainer")


def write_experiment(
    run: Path, path: Path, header: Sequence[str], metrics: Mapping[str, float], trust: Sequence[str]
) -> None:
    """Write the settings of a run that differ from the defaults, after a comment with the header and test metrics."""
    config = yaml.safe_load((run / "config.yaml").read_text())
    changed = without_defaults(config)
    if parse(["--config", yaml.safe_dump(changed), *trust]) != config:  # a class hides its defaults behind **kwargs
        changed = config
    scores = ", ".join(f"{name} {value:#.4g}" for name, value in metrics.items() if name.startswith("test/"))
    first, *lines, last = [*header, f"Expect {scores}. Took {metrics['seconds/fit']:.0f} s."]
    comment = [f"# {first}", *(f"#   {line}" for line in lines), f"# {last}"]
    with atomic_write(path) as temporary:
        temporary.write_text("\n".join([*comment, yaml.safe_dump(changed, sort_keys=False)]))


def without_defaults(config: Config) -> Config:
    """Remove the values of a complete configuration that are defaults of the command line or of a class."""
    defaults, changed = parse([]), dict[str, Any]()
    for name in [*SECTIONS, *(config.keys() - set(SECTIONS))]:
        value = config.get(name)
        if isinstance(value, dict) and "class_path" in value:
            changed[name] = _class_without_defaults(value)
        elif isinstance(value, dict):
            changed[name] = {key: part for key, part in value.items() if part != defaults[name][key]}
        elif value != defaults[name] or name == "seed_everything":
            changed[name] = value
    return {name: value for name, value in changed.items() if value != {}}


def _class_without_defaults(config: Config) -> Config:
    """Remove the arguments of a class that are defaults of its signature, or of a base class."""
    defaults, changed = dict[str, Any](), dict[str, Any]()
    for base in reversed(pkgutil.resolve_name(config["class_path"]).__mro__):
        parameters = inspect.signature(base.__init__).parameters
        defaults |= {name: parameter.default for name, parameter in parameters.items()}
    for name, value in config.get("init_args", {}).items():
        is_default = value == (list(default) if isinstance(default := defaults.get(name), tuple) else default)
        if isinstance(value, dict) and "class_path" in value:
            value = _class_without_defaults(value)
            is_default = value.keys() == {"class_path"} and pkgutil.resolve_name(value["class_path"]) is default
        if not is_default or name not in defaults:
            changed[name] = value
    return {"class_path": config["class_path"]} | ({"init_args": changed} if changed else {})
