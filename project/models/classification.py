"""Classification: the outputs of the net are logits of the classes."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torchmetrics import Metric
from torchmetrics.classification import MulticlassConfusionMatrix

from project.data.loader import Batch
from project.models.class_scores import ClassScores
from project.models.hyperparameters import factory
from project.models.losses import class_loss
from project.models.supervised import Supervised
from project.models.threshold import Accuracy, F1Score, Score, set_threshold
from project.nets.ensemble import Ensemble
from project.nets.linear import Linear
from project.nets.net import NetFactory
from project.nets.one_hot import one_hot
from project.nets.plain import build
from project.runtime.decision import decide
from project.runtime.errors import UserError
from project.runtime.ranges import ClosedUnitInterval


class Classification(Supervised):
    """Train a classifier. With the linear net, this is logistic regression.

    Targets are class indices, int64 (B,). The logged metrics are the loss, `accuracy` and `f1` (averaged over classes),
    and for the test rows also those of `ClassScores`.

    Args:
        in_shape: Shape of one row of x; set by the data.
        out_features: Number of classes; set by the data.
        net: The network, or a callable that builds it from the sizes of the data; see `project.nets.plain.build`.
        loss: CrossEntropyLoss, which has label smoothing and class weights, or MultiMarginLoss.
        threshold: With two classes, predict the second one if its probability is at least this threshold. `balanced`
            and `f1` choose the threshold with the highest balanced accuracy, or F1 of the second class, on the
            validation rows at the end of training. By default the most likely class is predicted.
        levels: For each column of x, the number of levels if it is a category, otherwise 0; set by the data.
        **kwargs: Arguments of `Supervised`: `standardize`, `l1`, `l2`, `compile`, `cuda_graph`, `optimizer`,
            `lr_scheduler` and `lr_interval`.

    Raises:
        UserError: If the data has no classes, the loss is not for classes, or a threshold is set without two classes.
    """

    def __init__(
        self,
        in_shape: tuple[int, ...],
        out_features: int,
        net: NetFactory = Linear,  # type: ignore[assignment]
        loss: Callable[[], nn.modules.loss._Loss] = nn.CrossEntropyLoss,
        threshold: Score | ClosedUnitInterval | None = None,
        levels: list[int] | None = None,
        **kwargs: Any,
    ) -> None:
        if out_features < 2:
            raise UserError(
                f"--model Classification: the data has no classes ({out_features} target{'s' * (out_features != 1)}); "
                "use --data DigitsDataModule, or --data TabularDataModule --data.task classification"
            )
        if threshold is not None and out_features != 2:
            raise UserError(f"--model.threshold: is for two classes, and the data has {out_features}; set null")
        criterion = class_loss(loss, out_features)
        metrics: dict[str, Metric] = {
            "accuracy": Accuracy(out_features, average="micro"),
            "f1": F1Score(out_features, average="macro"),
        }
        before, shape = one_hot(in_shape, levels)
        built = build(factory(net), shape, out_features, levels)
        for ensemble in (module for module in built.modules() if isinstance(module, Ensemble)):
            ensemble.classifies = True
        scores: dict[str, Metric] = {"scores": ClassScores(out_features)}
        super().__init__(built, criterion, metrics, (), test_only=scores, one_hot=before, log_link=None, **kwargs)
        self.threshold = threshold
        self.decide_at(None if isinstance(threshold, str) else threshold)

    def decide_at(self, threshold: float | None) -> None:
        """Set the decision threshold of the second of two classes; None to predict the most likely class."""
        self.decided_at = threshold
        for metrics in (self.train_metrics, self.val_metrics, self.test_metrics):
            set_threshold(metrics, threshold)

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
            decided = decide(self(rows.to(self.device)).softmax(1), self.decided_at)
            metric.update(decided, classes.to(self.device))
        return metric.compute().cpu()
