"""Prediction intervals of a run, from its residuals on the validation rows.

An interval of level p covers at least a share p of new rows if these have the same distribution as the validation
rows. With n validation rows, the share that a single run covers varies by about sqrt(p (1 - p) / n).

Source: split conformal prediction, Lei et al., "Distribution-Free Predictive Inference for Regression" (2018).
"""

import json
import math
from collections.abc import Sequence
from pathlib import Path

from torch import Tensor

from project.runtime.errors import UserError
from project.runtime.files import atomic_write

INTERVALS = "intervals.json"
STEPS = 100  # levels are 0.01, 0.02, …, up to the largest for which there are enough rows
DIGITS = 7  # significant digits of a width, as many as float32 has


def half_widths(residuals: Tensor) -> list[list[float]]:
    """Return half the widths of the intervals: for each target, a list with an item for each level.

    Args:
        residuals: Absolute residuals of rows that the model was not fitted on, (rows, out_features).
    """
    rows, ordered = len(residuals), residuals.double().sort(dim=0).values
    ranks = [-(-(rows + 1) * step // STEPS) for step in range(1, STEPS)]
    widths = ordered[[rank - 1 for rank in ranks if rank <= rows]].T.tolist()
    return [[float(f"{width:.{DIGITS}g}") for width in each] for each in widths]


def half_width(widths: Sequence[Sequence[float]], level: float) -> list[float]:
    """Return half the width of the interval for each target. The level is rounded up to a multiple of 0.01.

    Raises:
        UserError: If the level is not between 0 and 1, or the run had too few validation rows for it.
    """
    if not 0 < level < 1:
        raise UserError(f"--interval: must be between 0 and 1, such as 0.9, got {level:g}")
    step = math.ceil(round(level * STEPS, 6))
    if any(step > len(each) for each in widths):
        highest = min(map(len, widths)) / STEPS
        fix = f"use at most {highest:g}" if highest else "train with more rows"
        raise UserError(f"--interval {level:g}: the run had too few validation rows for it; {fix}")
    return [each[step - 1] for each in widths]


def write_intervals(folder: Path, widths: list[list[float]]) -> None:
    """Write what `half_widths` returned to a run."""
    with atomic_write(folder / INTERVALS) as temporary:
        temporary.write_text(json.dumps(widths) + "\n")


def read_intervals(folder: Path) -> list[list[float]] | None:
    """Return what `half_widths` returned for a run; None if it has no intervals, as in classification.

    Raises:
        UserError: If the file is damaged.
    """
    path = folder / INTERVALS
    if not path.is_file():
        return None
    try:
        return [[float(width) for width in each] for each in json.loads(path.read_text())]
    except (ValueError, TypeError) as error:
        raise UserError(f"{path}: damaged ({error}); train the run again, or delete the file") from error
