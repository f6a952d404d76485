"""The decision threshold of two classes."""

import pytest
import torch
from sklearn import metrics as sk
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import TunedThresholdClassifierCV

from project.models import Classification
from project.models.threshold import best_threshold
from project.nets import MLP
from project.runtime.decision import decide
from project.runtime.errors import UserError

SCORES = {"balanced": ("balanced_accuracy", sk.balanced_accuracy_score), "f1": ("f1", sk.f1_score)}


def draw(rows=400, seed=0):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(rows, 2, generator=generator)
    return x, (x.sum(1) + torch.randn(rows, generator=generator) > 1.8).long()


@pytest.mark.parametrize("score", SCORES)
def test_it_is_at_least_as_good_as_scikit_learns_and_next_to_it(score):
    x, y = draw()
    peer = LogisticRegression().fit(x.numpy(), y.numpy())
    name, function = SCORES[score]
    tuned = TunedThresholdClassifierCV(peer, scoring=name, cv="prefit", refit=False).fit(x.numpy(), y.numpy())
    probabilities = torch.tensor(peer.predict_proba(x.numpy()))
    choice = best_threshold(probabilities[:, 1], y == 1, score)
    assert choice.score == pytest.approx(function(y, decide(probabilities, choice.threshold)))
    assert choice.usual == pytest.approx(function(y, peer.predict(x.numpy())))
    assert tuned.best_score_ - 1e-12 <= choice.score <= tuned.best_score_ + 0.01
    assert choice.threshold == pytest.approx(tuned.best_threshold_, abs=0.03)


def test_equal_probabilities_are_decided_alike_and_one_class_has_no_threshold():
    probabilities, occurred = torch.tensor([0.9, 0.4, 0.4, 0.2]), torch.tensor([1, 1, 0, 0]) == 1
    choice = best_threshold(probabilities, occurred, "f1")
    assert choice.threshold == pytest.approx(0.3)
    assert choice.score == pytest.approx(0.8)
    assert best_threshold(probabilities, torch.ones(4) == 1, "f1") is None


def test_metrics_are_those_of_the_decisions():
    torch.manual_seed(0)
    model, (x, y) = Classification((2,), 2, net=MLP((2,), 2), threshold=0.4).eval(), draw(300)
    logits = model(x).detach()
    for part in torch.arange(300).split(70):
        model.test_metrics.update(logits[part], y[part])
    found = model.test_metrics.compute()
    probabilities = logits.softmax(1)[:, 1]
    decided = (probabilities >= 0.4).long()
    assert 0 < (decided != logits.argmax(1)).sum() < 300
    assert found["accuracy"].item() == pytest.approx(sk.accuracy_score(y, decided))
    assert found["f1"].item() == pytest.approx(sk.f1_score(y, decided, average="macro"))
    assert found["balanced_accuracy"].item() == pytest.approx(sk.balanced_accuracy_score(y, decided))
    assert found["auc"].item() == pytest.approx(sk.roc_auc_score(y, probabilities))
    assert model.confusion_matrix(x, y).equal(torch.tensor(sk.confusion_matrix(y, decided)))


def test_more_classes_have_none():
    with pytest.raises(UserError, match=r"--model.threshold: is for two classes, and the data has 3"):
        Classification((2,), 3, threshold="f1")
