"""DPO against a plain loop, written after the paper."""

import copy
from functools import partial

import pytest
import torch
from torch.nn.functional import logsigmoid

from project.models import DPO
from project.nets import GPT
from project.nets.scaling import Standardized

CONTEXT, VOCABULARY, BETA = 10, 13, 0.3
SMALL = partial(GPT, width=16, layers=1, heads=2, zero_init=False)


def pairs() -> tuple[torch.Tensor, torch.Tensor]:
    """Rows with a chosen dialogue of 6 tokens and a rejected one of 4, whose last 3 and 2 are learned."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randint(VOCABULARY, (4, 2, CONTEXT), generator=generator)
    x[:, 1] = torch.tensor([0] * 6 + [1] * 4)
    y = torch.randint(VOCABULARY, (4, CONTEXT), generator=generator)
    y[:, [0, 1, 2, 6, 7]] = -100
    return x, y


def log_probability(net: torch.nn.Module, tokens: list[int], targets: list[int]) -> torch.Tensor:
    """Of an answer alone: the sum over its tokens, each given those before it."""
    total = torch.zeros(())
    for place, target in enumerate(targets):
        if target >= 0:
            total = total + net(torch.tensor([tokens[: place + 1]]))[0, -1].log_softmax(0)[target]
    return total


def loss_of_paper(policy, reference, x, y) -> torch.Tensor:
    losses = []
    for (tokens, _), targets in zip(x.tolist(), y.tolist(), strict=True):
        ratio = [
            log_probability(policy, tokens[part], targets[part])
            - log_probability(reference, tokens[part], targets[part])
            for part in (slice(0, 6), slice(6, 10))
        ]
        losses.append(-logsigmoid(BETA * (ratio[0] - ratio[1])))
    return torch.stack(losses).mean()


def trained_model() -> DPO:
    torch.manual_seed(0)
    model = DPO(in_shape=(CONTEXT,), out_features=VOCABULARY, net=SMALL, beta=BETA)
    model.set_reference(Standardized(copy.deepcopy(model.net.net), (), ()))
    return model


def test_losses_are_those_of_a_plain_loop():
    model, (x, y) = trained_model(), pairs()
    policy, reference = (copy.deepcopy(model.net.net) for _ in range(2))
    optimizers = [torch.optim.AdamW(net.parameters(), lr=0.03) for net in (model.net.net, policy)]
    found = []
    for _ in range(6):
        losses = model.compute_loss(model.prepare(x, y))[0], loss_of_paper(policy, reference, x, y)
        for loss, optimizer in zip(losses, optimizers, strict=True):
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        found.append([loss.item() for loss in losses])
    learned, expected = zip(*found, strict=True)
    assert learned == pytest.approx(expected, abs=1e-6)
    assert learned[0] == pytest.approx(0.693147, abs=1e-6)
    assert learned[-1] < 0.5
    assert all(parameter.grad is None for parameter in model._reference[0].parameters())


def test_metrics_are_means_over_pairs_in_batches_of_any_size():
    model, (x, y) = trained_model(), pairs()
    with torch.no_grad():
        for parameter in model.net.net.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    margins = model.compute_loss(model.prepare(x, y))[1]
    for size in (1, 3, 4):
        metrics = model.test_metrics.clone()
        for batch in zip(x.split(size), y.split(size), strict=True):
            model._update_metrics(metrics, batch, 1)
        values = metrics.compute()
        assert values["margin"] == pytest.approx(margins.mean().item(), rel=1e-5)
        assert values["accuracy"] == pytest.approx((margins > 0).float().mean().item())
        assert values["loss"] == pytest.approx(-logsigmoid(margins).mean().item(), rel=1e-5)
