"""The configuration of a run, as YAML and as flags."""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import yaml
from jsonargparse import Namespace

from project.errors import UserError


def yaml_of(words: Sequence[str]) -> dict[str, Any]:
    """What the YAML files (or texts) among flags hold at their top level."""
    found: dict[str, Any] = {}
    for flag, value in pairwise([*words, ""]):
        if not flag.startswith(("--config", "-c")):
            continue
        value = flag.split("=", 1)[1] if "=" in flag else value
        text = value if "\n" in value else Path(value).read_text() if Path(value).is_file() else ""
        try:
            sections = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise UserError(f"{value}: not YAML: {error}") from error
        found |= sections if isinstance(sections, dict) else {}
    return found


def with_full_paths(config: Namespace) -> Namespace:
    """A configuration whose data files are found from any folder."""
    config = config.clone()
    for name in ("path", "val_path", "test_path"):
        if config.data.init_args.get(name):
            config.data.init_args[name] = str(Path(config.data.init_args[name]).resolve())
    return config
