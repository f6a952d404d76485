"""Language models that learn from a teacher or train as an ensemble, against formulas written out."""

from functools import partial

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from project.models import DistilledLanguageModel, LanguageModel
from project.nets import GPT, Ensemble
from project.nets.scaling import Standardized
from project.runtime.errors import UserError

CONTEXT, VOCABULARY = 8, 11
SMALL = partial(GPT, width=16, layers=1, heads=2, zero_init=False)


def batch() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randint(VOCABULARY, (2, 3, CONTEXT), generator=generator)
    y[0, :3] = -100
    return x, y


def student(net=SMALL, **options) -> DistilledLanguageModel:
    torch.manual_seed(0)
    model = DistilledLanguageModel(in_shape=(CONTEXT,), out_features=VOCABULARY, net=net, teacher="run", **options)
    torch.manual_seed(1)
    model.set_teacher(Standardized(GPT((CONTEXT,), VOCABULARY, width=8, layers=1, heads=1, zero_init=False), (), ()))
    with torch.no_grad():
        for net in (model.net.net, model._teacher[0].net):
            for weight in net.parameters():
                weight.add_(0.3 * torch.randn_like(weight))
    return model


@pytest.mark.parametrize("temperature", [1.0, 3.0])
@pytest.mark.parametrize("weight", [0.0, 0.3, 1.0])
def test_a_student_minimises_its_loss_and_the_divergence_from_its_teacher(weight, temperature):
    model, (x, y) = student(labels_weight=weight, temperature=temperature), batch()
    loss, losses = model.compute_loss(model.prepare(x, y))
    learned, known = ((net(x)[y >= 0] / temperature).softmax(1) for net in (model.net.net, model._teacher[0].net))
    divergence = (known * (known / learned).log()).sum(1).mean() * temperature**2
    own = cross_entropy(model.net.net(x)[y >= 0], y[y >= 0])
    torch.testing.assert_close(loss, weight * own + (1 - weight) * divergence, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(losses[y >= 0].mean(), own.detach())
    loss.backward()
    assert all(value.grad is None for value in model._teacher[0].parameters())


def test_a_student_that_is_its_teacher_has_nothing_to_learn_from_it():
    model, (x, y) = student(labels_weight=0.0), batch()
    model.set_teacher(Standardized(model.net.net, (), ()))
    loss, _ = model.compute_loss(model.prepare(x, y))
    assert abs(float(loss)) < 1e-6


def test_a_teacher_is_not_trained():
    with pytest.raises(UserError, match="--model.mutual: the teacher of a language model is not trained; remove it"):
        student(mutual=True)


def test_members_train_as_if_alone_and_predict_the_mean_of_their_probabilities():
    model, (x, y) = LanguageModel((CONTEXT,), VOCABULARY, net=partial(Ensemble, nets=[SMALL], copies=3)), batch()
    members = list(model.net.net.members)
    each = [cross_entropy(member(x)[y >= 0], y[y >= 0]) for member in members]
    loss, losses = model.compute_loss(model.prepare(x, y))
    torch.testing.assert_close(loss, torch.stack(each).sum())
    mean = torch.stack([member(x).softmax(2) for member in members]).mean(0)
    torch.testing.assert_close(model(x).softmax(2), mean)
    torch.testing.assert_close(losses[y >= 0].mean(), -mean[y >= 0].log()[range(len(y[y >= 0])), y[y >= 0]].mean())
