"""Check that a resumed sweep, pipeline or cross-validation has the same settings as before."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from project.runtime.errors import UserError


def refuse_changes(folder: Path, before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Check that the settings of a folder have not changed.

    Args:
        folder: The folder of the sweep, pipeline or cross-validation.
        before: The settings with which it was started, from `project.config.plain_data.flatten`.
        now: The settings now.

    Raises:
        UserError: If a setting differs. The error names the first one.
    """
    for name in [*before, *now]:
        if before.get(name) != now.get(name):
            was, got = before.get(name, "no value"), now.get(name, "no value")
            raise UserError(
                f"--{name}: {folder} was started with {was}, got {got}; use the same value or another --folder"
            )
