"""A run as an experiment: what `scripts/train.py --config` needs to train it again, short enough to be read."""

import inspect
import os
import pkgutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from project.stages.base import Config, parse

SECTIONS = ("seed_everything", "model", "data", "optimizer", "lr_scheduler", "trainer")


def write_experiment(
    run: Path, path: Path, header: Sequence[str], metrics: Mapping[str, float], trust: Sequence[str]
) -> None:
    """Write the settings of a run, as far as they are not what they would be anyway.

    Args:
        run: The run.
        path: A YAML file.
        header: Lines of a comment, to which scores are added.
        metrics: What metrics.json of the run holds.
        trust: Flags that grant trust in the run's classes.
    """
    config = yaml.safe_load((run / "config.yaml").read_text())
    found = essential(config)
    if parse(["--config", yaml.safe_dump(found), *trust]) != config:  # of a class whose signature hides its defaults
        found = config
    scores = ", ".join(f"{name} {value:#.4g}" for name, value in metrics.items() if name.startswith("test/"))
    first, *lines, last = [*header, f"Expect {scores}. Took {metrics['seconds/fit']:.0f} s."]
    comment = [f"# {first}", *(f"#   {line}" for line in lines), f"# {last}"]
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text("\n".join([*comment, yaml.safe_dump(found, sort_keys=False)]))
    temporary.replace(path)


def essential(config: Config) -> Config:
    """A complete configuration without what is as by default, of classes and of the command line."""
    usual, found = parse([]), dict[str, Any]()
    for name in [*SECTIONS, *(config.keys() - set(SECTIONS))]:
        value = config.get(name)
        if isinstance(value, dict) and "class_path" in value:
            found[name] = _essential_arguments(value)
        elif isinstance(value, dict):
            found[name] = {key: part for key, part in value.items() if part != usual[name][key]}
        elif value != usual[name] or name == "seed_everything":
            found[name] = value
    return {name: value for name, value in found.items() if value != {}}


def _essential_arguments(config: Config) -> Config:
    """A class with the arguments that differ from its own defaults, or its bases'."""
    defaults, arguments = dict[str, Any](), dict[str, Any]()
    for base in reversed(pkgutil.resolve_name(config["class_path"]).__mro__):
        parameters = inspect.signature(base.__init__).parameters
        defaults |= {name: parameter.default for name, parameter in parameters.items()}
    for name, value in config.get("init_args", {}).items():
        usual = value == (list(default) if isinstance(default := defaults.get(name), tuple) else default)
        if isinstance(value, dict) and "class_path" in value:
            value = _essential_arguments(value)
            usual = value.keys() == {"class_path"} and pkgutil.resolve_name(value["class_path"]) is default
        if not usual or name not in defaults:
            arguments[name] = value
    return {"class_path": config["class_path"]} | ({"init_args": arguments} if arguments else {})
