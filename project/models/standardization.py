"""Setting the standardisation of a network from the training rows of a data module or of any loader."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from project.data.loader import Batches
from project.data.sampling import is_labelled
from project.data.statistics import RunningStatistics, Statistics, statistics
from project.nets.scaling import Standardized
from project.runtime.distributed import gather
from project.runtime.errors import UserError

SMALLEST_RATE = 1e-8  # the rate if all counts are 0


def standardize_by(net: Standardized, features: Statistics, targets: Statistics | None, source: str = "--data") -> None:
    """Set the statistics of a network.

    Args:
        net: The network.
        features: Statistics of the inputs.
        targets: Statistics of the targets; None for classes.
        source: Name of the data in the error message.

    Raises:
        UserError: If the network standardises targets, but the data has classes.
    """
    if not net.net.scales_inputs:
        net.features.fill(features.mean, features.std)
    if net.targets.mean.ndim:
        if targets is None:
            raise UserError(f"{source}: the targets are classes; use --model Classification, or numbers as the target")
        if net.log_link and not net.log_target:
            net.targets.fill(targets.mean.clamp(min=SMALLEST_RATE).log(), torch.ones_like(targets.std))
        else:
            net.targets.fill(targets.mean, targets.std)


def set_statistics(net: Standardized, data: Any, standardize: bool) -> None:
    """Set the statistics of the training rows of a data module; do nothing if it does not provide them.

    With `standardize` False, only the values for unknown levels are set.

    Raises:
        UserError: If the network standardises targets, but the data has classes, or if logarithms are not defined.
    """
    if not isinstance(features := getattr(data, "feature_statistics", None), Statistics):
        return
    if net.one_hot is not None:
        net.one_hot.unknown.copy_(features.mean)
    targets = log_statistics(data.splits.train.y) if net.log_target else data.target_statistics
    if standardize:
        standardize_by(net, features, targets, getattr(data, "source", "--data"))


def log_statistics(y: Tensor) -> Statistics:
    """Return the statistics of the logarithms of labelled targets (rows, out_features).

    Raises:
        UserError: If a target is not above 0.
    """
    if (y <= 0).any():
        raise UserError("--model.log_target: targets must be above 0; remove it")
    return statistics(y[is_labelled(y)].double().log())


def loader_statistics(loader: Iterable[Any], log_target: bool = False) -> tuple[Statistics, Statistics | None]:
    """Return the statistics of the inputs and the targets from one pass over the batches `(x, y)` of all processes.

    The statistics of the targets are None for class indices; with `log_target`, they are those of the logarithms. The
    pass does not change torch's random state.

    Raises:
        UserError: If the loader is empty.
    """
    parts: list[RunningStatistics] = []
    with torch.random.fork_rng():
        for batch in loader:
            for pair in batch if isinstance(batch, Batches) else [batch]:
                columns = [values for values in pair[:2] if values.is_floating_point() or values is pair[0]]
                columns[1:] = [values.double().log() if log_target else values for values in columns[1:]]
                parts = parts or [RunningStatistics(tuple(values.shape[1:])) for values in columns]
                for part, values in zip(parts, columns, strict=True):
                    part.update(values.cpu())
    merged = [_merge(each) for each in zip(*gather(parts), strict=True)]
    if not merged:
        raise UserError("--data: the training loader is empty")
    return merged[0].compute(), merged[1].compute() if len(merged) > 1 else None


def _merge(parts: Iterable[RunningStatistics]) -> RunningStatistics:
    first, *others = parts
    for other in others:
        first.merge(other)
    return first
