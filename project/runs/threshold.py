"""The decision threshold of a run with two classes."""

import json
from pathlib import Path
from typing import Any

from project.runtime.errors import UserError
from project.runtime.files import atomic_write

THRESHOLD = "threshold.json"


def write_threshold(folder: Path, threshold: float) -> None:
    """Write the threshold that a training has chosen to its run."""
    with atomic_write(folder / THRESHOLD) as temporary:
        temporary.write_text(json.dumps({"threshold": threshold}) + "\n")


def threshold_of(folder: Path, model: Any) -> float | None:
    """Return the threshold of a run's model; None for that of the most likely class.

    Raises:
        UserError: If the training was to choose one, and has not.
    """
    wanted = getattr(model, "threshold", None)
    if not isinstance(wanted, str):
        return wanted
    path = folder / THRESHOLD
    try:
        return float(json.loads(path.read_text())["threshold"])
    except (OSError, ValueError, LookupError, TypeError) as error:
        problem = f"no threshold, which a training with --model.threshold {wanted} writes at its end ({error})"
        raise UserError(f"{path}: {problem}; resume or repeat it") from error
