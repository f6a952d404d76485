"""Scores of probabilities are scikit-learn's, for any batches, and over the classes that occur."""

import numpy as np
import pytest
import torch
from sklearn import metrics as sk

from project.models import class_scores
from project.models.class_scores import ClassScores


def rows(classes, present, seed):
    """Return logits with ties (300, classes), and class indices among the first `present` ones."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(300, classes, generator=generator)
    y = torch.randint(0, present, (300,), generator=generator)
    logits[torch.arange(300), y] += 0.7
    return (logits * 4).round() / 4, y


def scores(logits, y, batch=64):
    metric = ClassScores(logits.shape[1])
    for part in zip(logits.split(batch), y.split(batch), strict=True):
        metric.update(*part)
    return {name: value.item() for name, value in metric.compute().items()}


@pytest.mark.parametrize(("classes", "present"), [(2, 2), (4, 4), (5, 3)])
def test_scores_are_those_of_scikit_learn(classes, present):
    logits, y = rows(classes, present, seed=classes)
    found, p = scores(logits, y), logits.double().softmax(1).numpy()
    positive = [1] if classes == 2 else range(present)
    expected = {
        "balanced_accuracy": sk.recall_score(y, p.argmax(1), average="macro", labels=range(present)),
        "auc": np.mean([sk.roc_auc_score(y == c, p[:, c]) for c in positive]),
        "average_precision": np.mean([sk.average_precision_score(y == c, p[:, c]) for c in positive]),
        "log_loss": sk.log_loss(y, p, labels=range(classes)),
    }
    assert {name: found[name] for name in expected} == pytest.approx(expected, abs=1e-6)


def test_the_calibration_error_is_the_distance_of_confidence_and_accuracy_in_bins():
    logits, y = rows(3, 3, seed=0)
    p = logits.softmax(1).numpy()
    confidence, right = p.max(1), p.argmax(1) == y.numpy()
    bins = np.minimum((confidence * 15).astype(int), 14)
    parts = [(bins == b).mean() * abs(confidence[bins == b].mean() - right[bins == b].mean()) for b in set(bins)]
    assert scores(logits, y)["calibration_error"] == pytest.approx(sum(parts), abs=1e-6)


def test_batches_do_not_matter():
    logits, y = rows(4, 4, seed=1)
    assert scores(logits, y, batch=7) == scores(logits, y, batch=300)


def test_a_single_class_has_no_scores():
    logits, _ = rows(3, 3, seed=2)
    assert all(value != value for value in scores(logits, torch.zeros(300, dtype=torch.int64)).values())


def test_memory_is_bounded_and_free_again_after_a_reset(monkeypatch):
    monkeypatch.setattr(class_scores, "MAX_VALUES", 300)
    metric = ClassScores(2)
    logits, y = rows(2, 2, seed=3)
    for part in zip(logits.split(30), y.split(30), strict=True):
        metric.update(*part)
    assert sum(map(len, metric.logits)) <= 150
    assert all(value.isnan() for value in metric.compute().values())
    metric.reset()
    metric.update(logits[:100], y[:100])
    assert metric.compute()["auc"].item() == pytest.approx(sk.roc_auc_score(y[:100], logits[:100].softmax(1)[:, 1]))
