"""Decision threshold of two classes: its choice on rows, and metrics that use it."""

from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor
from torchmetrics import Metric, MetricCollection
from torchmetrics.classification import MulticlassAccuracy, MulticlassF1Score

from project.runtime.decision import decide

Score = Literal["balanced", "f1"]


class Choice(NamedTuple):
    """The choice of a threshold.

    Attributes:
        threshold: Minimum probability of the second class for which it is predicted.
        score: Score of the threshold on the rows on which it was chosen.
        usual: Score of the threshold 0.5 on the same rows.
    """

    threshold: float
    score: float
    usual: float


def best_threshold(probabilities: Tensor, occurred: Tensor, score: Score) -> Choice | None:
    """Return the threshold with the highest score; None if all rows have the same class.

    All thresholds that make a difference for these rows are compared. Of several with the same score, the one closest
    to 0.5 is chosen. Thresholds are halfway between two probabilities, so that rounding does not change a decision.

    Args:
        probabilities: Probability of the second class, (rows,).
        occurred: Whether a row has the second class, (rows,).
        score: "balanced" for balanced accuracy, "f1" for F1 of the second class.
    """
    ordered, order = probabilities.double().sort(descending=True, stable=True)
    hits = occurred[order].double().cumsum(0)  # true positives if all rows up to this one are predicted as positive
    positive, rows = hits[-1], torch.arange(1, len(hits) + 1, dtype=torch.float64)
    if not 0 < positive < len(hits):
        return None
    scores = _score(hits, rows, positive, score)
    thresholds = (ordered + torch.cat([ordered[1:], ordered.new_zeros(1)])) / 2
    scores[:-1][ordered[1:] == ordered[:-1]] = -1  # no threshold separates rows with equal probabilities
    best = (scores >= scores.max() - 1e-12).nonzero()[:, 0]
    chosen = best[(thresholds[best] - 0.5).abs().argmin()]
    above = ordered >= 0.5
    usual = _score(occurred[order][above].double().sum(), above.sum(), positive, score, len(hits))
    return Choice(thresholds[chosen].item(), scores[chosen].item(), usual.item())


def _score(hits: Tensor, predicted: Tensor, positive: Tensor, score: Score, rows: int | None = None) -> Tensor:
    """Return the score from the numbers of true positives, of predicted positives and of positives."""
    if score == "f1":
        return 2 * hits / (predicted + positive)
    negative = (rows or len(hits)) - positive
    return (hits / positive + 1 - (predicted - hits) / negative) / 2


class Accuracy(MulticlassAccuracy):
    """Accuracy of logits, with a decision threshold if there is one."""

    threshold: float | None = None

    def update(self, preds: Tensor, target: Tensor) -> None:
        """Add a batch: logits (B, classes) and class indices (B,)."""
        super().update(preds if self.threshold is None else decide(preds.softmax(1), self.threshold), target)


class F1Score(MulticlassF1Score):
    """F1 of logits, with a decision threshold if there is one."""

    threshold: float | None = None

    def update(self, preds: Tensor, target: Tensor) -> None:
        """Add a batch: logits (B, classes) and class indices (B,)."""
        super().update(preds if self.threshold is None else decide(preds.softmax(1), self.threshold), target)


def set_threshold(metrics: MetricCollection, threshold: float | None) -> None:
    """Set the threshold of all metrics that have one."""
    for metric in metrics.values():
        if isinstance(metric, Metric) and hasattr(metric, "threshold"):
            _set(metric, threshold)


def _set(metric: Any, threshold: float | None) -> None:
    metric.threshold = threshold
