"""Metrics of class probabilities that need all rows at once."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy
from torchmetrics import Metric
from torchmetrics.functional.classification import (
    binary_auroc,
    binary_average_precision,
    multiclass_calibration_error,
)
from torchmetrics.utilities import dim_zero_cat

from project.models.metrics import sum_dtype
from project.runtime.decision import decide

MAX_VALUES = 2**26  # maximum of rows x classes, whose logits take 256 MiB


class ClassScores(Metric):
    """Compute balanced_accuracy, auc, average_precision, log_loss and calibration_error from logits.

    The metrics are defined as in scikit-learn, and computed over the classes that occur in the targets. With two
    classes, the second one is the positive class of `average_precision`, and `balanced_accuracy` uses the decision
    threshold if there is one. With more classes, `auc` and `average_precision` are means over one-vs-rest problems.
    `calibration_error` is the expected calibration error with 15 bins (Guo et al., "On Calibration of Modern Neural
    Networks", 2017). All are NaN if only one class occurs, or if rows times classes exceed 67 million, because the
    logits of all rows are kept until the end.

    Args:
        classes: Number of classes.
    """

    full_state_update = False
    threshold: float | None = None
    names = ("balanced_accuracy", "auc", "average_precision", "log_loss", "calibration_error")
    logits: list[Tensor] | Tensor
    targets: list[Tensor] | Tensor

    def __init__(self, classes: int, **options: Any) -> None:
        super().__init__(**options)
        self.classes, self.values = classes, 0
        self.add_state("logits", [], dist_reduce_fx="cat")
        self.add_state("targets", [], dist_reduce_fx="cat")

    def reset(self) -> None:
        """Remove all rows."""
        super().reset()
        self.values = 0

    def update(self, outputs: Tensor, target: Tensor) -> None:
        """Add a batch: logits (B, classes) and class indices (B,)."""
        assert isinstance(self.logits, list)
        assert isinstance(self.targets, list)
        self.values += outputs.numel()
        if self.values > MAX_VALUES:
            self.logits.clear()
            self.targets.clear()
        self.logits.append(outputs.float())
        self.targets.append(target)

    def compute(self) -> dict[str, Tensor]:
        """Return the metrics over all rows of all processes."""
        logits, targets = (dim_zero_cat(state) for state in (self.logits, self.targets))
        counts = targets.bincount(minlength=self.classes)
        present = counts.nonzero().flatten().tolist()
        if len(present) < 2 or self.values > MAX_VALUES:
            return {name: torch.tensor(torch.nan, device=self.device) for name in self.names}
        logits = logits.to(sum_dtype(logits))
        probabilities = logits.softmax(1)
        decided = logits.argmax(1) if self.threshold is None else decide(probabilities, self.threshold)
        right = targets[decided == targets].bincount(minlength=self.classes)
        positive = [1] if self.classes == 2 else present

        def mean(score: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
            return torch.stack([score(probabilities[:, each], (targets == each).long()) for each in positive]).mean()

        return {
            "balanced_accuracy": (right / counts)[present].mean(),
            "auc": mean(binary_auroc),
            "average_precision": mean(binary_average_precision),
            "log_loss": cross_entropy(logits, targets),
            "calibration_error": multiclass_calibration_error(probabilities, targets, self.classes, n_bins=15),
        }
