"""Metrics of the best constant prediction: the baseline that a model should beat."""

import torch
from lightning.pytorch import LightningDataModule, LightningModule
from torch import Tensor

from project.data.datamodule import RowsDataModule
from project.data.loader import Rows
from project.data.sampling import is_labelled
from project.models.evaluation import Evaluated
from project.models.threshold import set_threshold

BLOCK_ROWS = 65_536


def constant_metrics(model: LightningModule, data: LightningDataModule) -> dict[str, float]:
    """Return the test metrics of a prediction that is the same for all rows, named like a model's.

    It is the weighted mean of each target in the training rows, or the share of each class. For models or data from
    outside the project, the result is empty.
    """
    if not isinstance(model, Evaluated) or not isinstance(data, RowsDataModule):
        return {}
    outputs = _constant(data)
    if outputs is None:
        return {}
    metrics = model.test_metrics.clone().cpu()
    metrics.reset()
    set_threshold(metrics, None)  # of the commonest class
    rows = data.splits.test
    for part in _slices(rows):
        y, weights = rows.y[part], None if rows.weights is None else rows.weights[part]
        metrics.update(outputs.expand(len(y), -1), y, weights=weights)
    return {f"test/{name}": value.item() for name, value in metrics.compute().items()}


def _constant(data: RowsDataModule) -> Tensor | None:
    """Return the outputs (out_features,) of the best constant prediction: means, or logits of classes."""
    rows = data.splits.train
    if data.target_statistics is not None:
        if rows.weights is None:
            return data.target_statistics.mean.flatten().float()
        sums = [(rows.weights[part].double() * rows.y[part].double()).sum(0) for part in _slices(rows)]
        return (torch.stack(sums).sum(0) / rows.weights.sum(dtype=torch.float64)).float()
    if data.class_names is not None:
        labelled = is_labelled(rows.y)
        weights = None if rows.weights is None else rows.weights[labelled, 0].double()
        return rows.y[labelled].bincount(weights, minlength=data.out_features).double().log().float()
    return None


def _slices(rows: Rows) -> list[slice]:
    return [slice(start, start + BLOCK_ROWS) for start in range(0, len(rows), BLOCK_ROWS)]
