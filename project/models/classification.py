"""Classification: the outputs of the net are logits of the classes."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torchmetrics import Metric
from torchmetrics.classification import MulticlassAccuracy, MulticlassConfusionMatrix, MulticlassF1Score

from project.data.loader import Batch
from project.models.class_scores import ClassScores
from project.models.hyperparameters import factory
from project.models.losses import class_loss
from project.models.supervised import Supervised
from project.nets.ensemble import Ensemble
from project.nets.linear import Linear
from project.nets.net import NetFactory
from project.nets.one_hot import one_hot
from project.nets.plain import build
from project.runtime.errors import UserError


class Classification(Supervised):
    """Train a classifier. With the linear net, this is logistic regression.

    Targets are class indices, int64 (B,). The logged metrics are the loss, `accuracy` and `f1` (averaged over classes),
    and for the test rows also those of `ClassScores`.

    Args:
        in_shape: Shape of one row of x; set by the data.
        out_features: Number of classes; set by the data.
        net: The network, or a callable that builds it from the sizes of the data; see `project.nets.plain.build`.
        loss: CrossEntropyLoss, which has label smoothing and class weights, or MultiMarginLoss.
        levels: For each column of x, the number of levels if it is a category, otherwise 0; set by the data.
        **kwargs: Arguments of `Supervised`: `standardize`, `l1`, `l2`, `compile`, `cuda_graph`, `optimizer`,
            `lr_scheduler` and `lr_interval`.

    Raises:
        UserError: If the data has no classes, or the loss is not for classes.
    """

    def __init__(
        self,
        in_shape: tuple[int, ...],
        out_features: int,
        net: NetFactory = Linear,  # type: ignore[assignment]
        loss: Callable[[], nn.modules.loss._Loss] = nn.CrossEntropyLoss,
        levels: list[int] | None = None,
        **kwargs: Any,
    ) -> None:
        if out_features < 2:
            raise UserError(
                f"--model Classification: the data has no classes ({out_features} target{'s' * (out_features != 1)}); "
                "use --data DigitsDataModule, or --data TabularDataModule --data.task classification"
            )
        criterion = class_loss(loss, out_features)
        metrics: dict[str, Metric] = {
            "accuracy": MulticlassAccuracy(out_features, average="micro"),
            "f1": MulticlassF1Score(out_features, average="macro"),
        }
        before, shape = one_hot(in_shape, levels)
        built = build(factory(net), shape, out_features, levels)
        for ensemble in (module for module in built.modules() if isinstance(module, Ensemble)):
            ensemble.classifies = True
        scores: dict[str, Metric] = {"scores": ClassScores(out_features)}
        super().__init__(built, criterion, metrics, (), test_only=scores, one_hot=before, log_link=None, **kwargs)

    def check_targets(self, outputs: Tensor, y: Tensor) -> None:
        """Raise a UserError unless the targets are class indices, one per row."""
        if y.shape != outputs.shape[:1] or y.is_floating_point():
            raise UserError(
                f"targets have shape {tuple(y.shape)} and type {y.dtype}, predictions {tuple(outputs.shape)}; the data "
                "must have class indices (rows,) int64, as with --data.task classification or --data DigitsDataModule"
            )

    def predict_step(self, batch: Batch | Tensor, batch_idx: int) -> Tensor:
        """Return class probabilities (B, out_features) for a batch `(x, y)`, or for x alone (B, *in_shape)."""
        return super().predict_step(batch, batch_idx).softmax(1)

    @torch.no_grad()
    def confusion_matrix(self, x: Tensor, y: Tensor) -> Tensor:
        """Return the number of rows by true class and predicted class, shape (classes, classes)."""
        metric = MulticlassConfusionMatrix(self.net.net.out_features, sync_on_compute=False).to(self.device)
        for rows, classes in zip(x.split(1_024), y.split(1_024), strict=True):
            metric.update(self(rows.to(self.device)), classes.to(self.device))
        return metric.compute().cpu()
