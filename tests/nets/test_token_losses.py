"""Losses in chunks: those of all logits at once, also backwards."""

import pytest
import torch

from project.nets import LoRA
from tests.nets.test_gpt import CONTEXT, VOCABULARY, network, tokens


@pytest.mark.parametrize("adapted", [False, True])
@pytest.mark.parametrize("logits", [1, 5 * VOCABULARY, 2**20])
def test_losses_and_gradients_are_those_of_all_logits(monkeypatch, adapted, logits):
    monkeypatch.setattr("project.nets.token_losses.CHUNK", logits)
    net: torch.nn.Module = network()
    if adapted:
        net = LoRA((CONTEXT,), VOCABULARY, lambda *_: network()).double()
        for weight in net.up.values():
            torch.nn.init.normal_(weight)
    x, targets = tokens(), tokens().roll(-1, dims=1)
    targets[:, ::3] = -100
    found = net(x, targets=targets)
    gradients = torch.autograd.grad(found.sum(), learned := [p for p in net.parameters() if p.requires_grad])
    expected = -torch.log_softmax(net(x), dim=2).gather(2, targets.clamp(min=0)[:, :, None])[:, :, 0] * (targets >= 0)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)
    for one, other in zip(gradients, torch.autograd.grad(expected.sum(), learned), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-12)
