"""The probability from which on the second of two classes is predicted: chosen on rows, and counted in metrics."""

from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor
from torchmetrics import Metric, MetricCollection
from torchmetrics.classification import MulticlassAccuracy, MulticlassF1Score

from project.runtime.decision import decide

Score = Literal["balanced", "f1"]


class Choice(NamedTuple):
    """A threshold, its score on the rows that it was chosen on, and that of 0.5."""

    threshold: float
    score: float
    usual: float


def best_threshold(probabilities: Tensor, occurred: Tensor, score: Score) -> Choice | None:
    """Return the threshold with the highest score; None if the rows are of one class.

    All thresholds that differ for these rows are compared; of those with the same score, the one next to 0.5 is taken.
    A threshold lies halfway between two probabilities, so that rounding does not change a decision.

    Args:
        probabilities: Of the second class, (rows,).
        occurred: Whether a row is of that class, (rows,).
        score: Balanced accuracy, or F1 of the second class.
    """
    ordered, order = probabilities.double().sort(descending=True, stable=True)
    hits = occurred[order].double().cumsum(0)  # of the rows up to each, if these are predicted to be of the class
    positive, rows = hits[-1], torch.arange(1, len(hits) + 1, dtype=torch.float64)
    if not 0 < positive < len(hits):
        return None
    scores = _score(hits, rows, positive, score)
    thresholds = (ordered + torch.cat([ordered[1:], ordered.new_zeros(1)])) / 2
    scores[:-1][ordered[1:] == ordered[:-1]] = -1  # no threshold lies between rows of one probability
    best = (scores >= scores.max() - 1e-12).nonzero()[:, 0]
    chosen = best[(thresholds[best] - 0.5).abs().argmin()]
    above = ordered >= 0.5
    usual = _score(occurred[order][above].double().sum(), above.sum(), positive, score, len(hits))
    return Choice(thresholds[chosen].item(), scores[chosen].item(), usual.item())


def _score(hits: Tensor, predicted: Tensor, positive: Tensor, score: Score, rows: int | None = None) -> Tensor:
    """Return the score for numbers of hits, of rows that are predicted to be of the class, and of those that are."""
    if score == "f1":
        return 2 * hits / (predicted + positive)
    negative = (rows or len(hits)) - positive
    return (hits / positive + 1 - (predicted - hits) / negative) / 2


class Accuracy(MulticlassAccuracy):
    """Accuracy of logits, whose classes are decided with a threshold if there is one."""

    threshold: float | None = None

    def update(self, preds: Tensor, target: Tensor) -> None:
        """Add a batch: logits (B, classes) and class numbers (B,)."""
        super().update(preds if self.threshold is None else decide(preds.softmax(1), self.threshold), target)


class F1Score(MulticlassF1Score):
    """F1 of logits, whose classes are decided with a threshold if there is one."""

    threshold: float | None = None

    def update(self, preds: Tensor, target: Tensor) -> None:
        """Add a batch: logits (B, classes) and class numbers (B,)."""
        super().update(preds if self.threshold is None else decide(preds.softmax(1), self.threshold), target)


def set_threshold(metrics: MetricCollection, threshold: float | None) -> None:
    """Set the threshold of all metrics that decide."""
    for metric in metrics.values():
        if isinstance(metric, Metric) and hasattr(metric, "threshold"):
            _set(metric, threshold)


def _set(metric: Any, threshold: float | None) -> None:
    metric.threshold = threshold
