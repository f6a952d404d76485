"""One token at a time with few operations: the same logits as the network."""

import pytest
import torch

from project.nets.cache import Cache
from project.nets.decoding import Decoder
from tests.nets.test_gpt import CONTEXT, FAMILY, GPT2, network, tokens


@torch.no_grad()
@FAMILY
@pytest.mark.parametrize("prompt", [0, 5])
def test_logits_are_those_of_the_network(options, prompt):
    net, x = network(**options), tokens()
    cache = Cache(net, batch=len(x))
    found = [net(x[:, :prompt], cache)] if prompt else []
    decoder = Decoder(net)
    found += [decoder(x[:, place : place + 1], cache) for place in range(prompt, CONTEXT)]
    torch.testing.assert_close(torch.cat(found, dim=1), net(x), rtol=0, atol=1e-12)
    assert cache.length == CONTEXT


@torch.no_grad()
def test_inputs_of_zero_are_normalised_as_by_the_network():
    net = network()
    net.embedding.weight.zero_()
    x = tokens()[:, :1]
    torch.testing.assert_close(Decoder(net)(x, Cache(net, len(x))), net(x), rtol=0, atol=1e-12)


def test_it_leaves_the_weights_of_the_network_as_they_are():
    net = network(**GPT2)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    Decoder(net)
    assert all(value.equal(before[name]) for name, value in net.state_dict().items())
