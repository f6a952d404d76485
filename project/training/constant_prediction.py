"""Metrics of the best constant prediction, which show what the inputs of a model are worth."""

from lightning.pytorch import LightningDataModule, LightningModule
from torch import Tensor

from project.data.datamodule import RowsDataModule
from project.data.sampling import is_labelled
from project.models.evaluation import Evaluated

BLOCK_ROWS = 65_536


def constant_metrics(model: LightningModule, data: LightningDataModule) -> dict[str, float]:
    """Return the test metrics of a prediction that is the same for all rows, named like a model's.

    It is the mean of each target in the training rows, or the share of each class. Nothing is returned for models and
    data from outside the project.
    """
    if not isinstance(model, Evaluated) or not isinstance(data, RowsDataModule):
        return {}
    outputs = _constant(data)
    if outputs is None:
        return {}
    metrics = model.test_metrics.clone().cpu()
    metrics.reset()
    for y in data.splits.test.y.split(BLOCK_ROWS):
        metrics.update(outputs.expand(len(y), -1), y)
    return {f"test/{name}": value.item() for name, value in metrics.compute().items()}


def _constant(data: RowsDataModule) -> Tensor | None:
    """Return the outputs (out_features,) of the best constant prediction: means, or logits of classes."""
    if data.target_statistics is not None:
        return data.target_statistics.mean.flatten().float()
    if data.class_names is not None:
        classes = data.splits.train.y
        return classes[is_labelled(classes)].bincount(minlength=data.out_features).double().log().float()
    return None
