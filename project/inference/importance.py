"""Permutation importance: how much worse a model predicts when the values of a column are shuffled.

Source: Breiman, "Random Forests" (2001); for any model, Fisher, Rudin & Dominici, "All Models are Wrong, but Many are
Useful" (2019).
"""

from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from project.data.datamodule import RowsDataModule
from project.models.evaluation import Evaluated
from project.runtime.errors import UserError
from project.runtime.files import atomic_write

MAX_ROWS, BATCH_ROWS = 10_000, 1_024
MAX_BARS = 30


class Importance(NamedTuple):
    """Importance of a column: by how much the loss rises when it is shuffled, mean and standard deviation."""

    name: str
    mean: float
    std: float


@torch.inference_mode()
def permutation_importance(model: Any, data: Any, repeats: int = 5, seed: int = 0) -> list[Importance]:
    """Return the importance of each column of a table, the largest first, over up to 10,000 test rows.

    All inputs that stem from a column, such as the parts of a date, are shuffled together. Of two columns with
    the same information, each may seem unimportant.

    Args:
        model: A model of this project.
        data: A data module of this project, whose rows have one number for each column, or a schema.
        repeats: How often each column is shuffled.
        seed: Seed of the shuffles.

    Raises:
        UserError: If the rows are not those of a table, or the model is not one of this project.
    """
    if not isinstance(model, Evaluated) or not isinstance(data, RowsDataModule) or len(data.in_shape) != 1:
        raise UserError("--importance: needs the rows of a table, and a model of this project; remove it")
    rows = data.splits.test
    count = min(len(rows), MAX_ROWS)
    x, *others = rows.gather(torch.arange(count) * (len(rows) - 1) // max(count - 1, 1))
    names = data.feature_names if data.schema is None else data.schema.field_names
    widths = [1] * len(names) if data.schema is None else [field.width for field in data.schema.fields]
    generator, complete, found = torch.Generator().manual_seed(seed), _loss(model, x, *others), []
    for name, (start, stop) in zip(names, pairwise(accumulate(widths, initial=0)), strict=True):
        rises = []
        for _ in range(repeats):
            shuffled = x.clone()
            shuffled[:, start:stop] = x[torch.randperm(count, generator=generator), start:stop]
            rises.append(_loss(model, shuffled, *others) - complete)
        values = torch.tensor(rises, dtype=torch.float64)
        found.append(Importance(name, values.mean().item(), values.std(correction=0).item()))
    return sorted(found, key=lambda each: -each.mean)


def _loss(model: Evaluated, *parts: Tensor) -> float:
    """Return the mean loss in target units of inputs, targets, and weights if the rows have any."""
    metric: Any = model.test_metrics["loss"].clone()
    metric.reset()
    for batch in zip(*(part.to(model.device).split(BATCH_ROWS) for part in parts), strict=True):
        metric.update(model(batch[0]), *batch[1:])
    return float(metric.compute())


def draw_importance(found: list[Importance], path: Path) -> None:
    """Draw the most important columns to a .png or .svg file."""
    from matplotlib.figure import Figure

    shown = found[:MAX_BARS][::-1]
    figure = Figure(figsize=(7, 1.2 + 0.28 * len(shown)), dpi=150, layout="constrained")
    axes = figure.add_subplot(xlabel="rise of the loss on the test rows when the column is shuffled")
    bars = [each.mean for each in shown]
    axes.barh([each.name for each in shown], bars, xerr=[each.std for each in shown], color="#0072b2", ecolor="#999999")
    axes.spines[["top", "right"]].set_visible(False)
    with atomic_write(path) as temporary:
        figure.savefig(temporary)
