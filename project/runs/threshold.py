"""The decision threshold of a run with two classes."""

import json
from pathlib import Path
from typing import Any

from project.runtime.errors import UserError
from project.runtime.files import atomic_write

THRESHOLD = "threshold.json"


def write_threshold(folder: Path, threshold: float) -> None:
    """Write the threshold that training has chosen to a run."""
    with atomic_write(folder / THRESHOLD) as temporary:
        temporary.write_text(json.dumps({"threshold": threshold}) + "\n")


def threshold_of(folder: Path, model: Any) -> float | None:
    """Return the decision threshold of the model of a run; None if it predicts the most likely class.

    Raises:
        UserError: If training should have chosen a threshold, but did not finish.
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
