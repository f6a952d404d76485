"""Refuse changed settings when a sweep, a pipeline or a cross-validation is resumed."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from project.runtime.errors import UserError


def refuse_changes(folder: Path, before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Raise a UserError that names the first setting that differs from those a folder was started with.

    The settings are as from `project.config.plain_data.flatten`.
    """
    for name in [*before, *now]:
        if before.get(name) != now.get(name):
            was, got = before.get(name, "no value"), now.get(name, "no value")
            raise UserError(
                f"--{name}: {folder} was started with {was}, got {got}; use the same value or another --folder"
            )
