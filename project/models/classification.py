"""Classification: a net whose outputs are the classes' logits."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torchmetrics import Metric
from torchmetrics.classification import MulticlassAccuracy, MulticlassConfusionMatrix, MulticlassF1Score

from project.data.loader import Batch
from project.models.supervised import Supervised
from project.nets.ensemble import Ensemble
from project.nets.linear import Linear
from project.nets.net import Net
from project.runtime.errors import UserError


class Classification(Supervised):
    """Learns classes. With the linear net it is logistic regression.

    Targets are class numbers, int64 (B,). Logged beside the loss: `accuracy`, and `f1` averaged over classes.

    Args:
        in_shape: Shape of one row of x; comes from the data.
        out_features: Number of classes; comes from the data.
        net: The network.
        loss: The loss: CrossEntropyLoss, with its label smoothing and class weights, or MultiMarginLoss.
        l1: Weight of the sum of absolute weights, added to the loss; biases are never penalised.
        l2: Weight of the sum of squared weights, added to the loss; biases are never penalised.
        standardize: Whether to standardise inputs inside the net, by the training rows.
        compile: Whether to compile the net with `torch.compile`.
    """

    def __init__(
        self,
        in_shape: tuple[int, ...],
        out_features: int,
        net: Callable[[tuple[int, ...], int], Net] = Linear,
        loss: Callable[[], nn.modules.loss._Loss] = nn.CrossEntropyLoss,
        l1: float = 0.0,
        l2: float = 0.0,
        standardize: bool = True,
        compile: bool = False,
    ) -> None:
        if out_features < 2:
            raise UserError(
                f"the data has {out_features} target{'s' * (out_features != 1)} and no classes: "
                "classify with --data DigitsDataModule, or --data TabularDataModule --data.task classification"
            )
        criterion = loss()
        if not isinstance(criterion, nn.CrossEntropyLoss | nn.MultiMarginLoss):
            raise UserError(
                f"--model.loss {type(criterion).__name__} takes no logits and class numbers: give CrossEntropyLoss"
            )
        metrics: dict[str, Metric] = {
            "accuracy": MulticlassAccuracy(out_features, average="micro"),
            "f1": MulticlassF1Score(out_features, average="macro"),
        }
        built = net(in_shape, out_features)
        for ensemble in (module for module in built.modules() if isinstance(module, Ensemble)):
            ensemble.classifies = True
        super().__init__(built, criterion, metrics, standardize, (), l1, l2, compile)

    def check_targets(self, outputs: Tensor, y: Tensor) -> None:
        """Raise a ValueError unless targets are class numbers, one a row."""
        if y.shape != outputs.shape[:1] or y.is_floating_point():
            raise UserError(
                f"targets have shape {tuple(y.shape)} and type {y.dtype}, and predictions {tuple(outputs.shape)}: "
                "give class numbers as (rows,) int64, from --data.task classification or --data DigitsDataModule"
            )

    def predict_step(self, batch: Batch | Tensor, batch_idx: int) -> Tensor:
        """A batch `(x, y)`, or x alone (B, *in_shape) -> class probabilities (B, out_features)."""
        return super().predict_step(batch, batch_idx).softmax(1)

    @torch.no_grad()
    def confusion_matrix(self, x: Tensor, y: Tensor) -> Tensor:
        """Counts (classes, classes) of rows by true class and by predicted class."""
        metric = MulticlassConfusionMatrix(self.net.net.out_features, sync_on_compute=False).to(self.device)
        for rows, classes in zip(x.split(1_024), y.split(1_024), strict=True):
            metric.update(self(rows.to(self.device)), classes.to(self.device))
        return metric.compute().cpu()
