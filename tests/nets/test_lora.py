import copy
from functools import partial

import pytest
import torch
from torch import nn

from project.nets import CNN, MLP, RNN, EncoderDecoder, Linear, LoRA, TableNet, Transformer

SEQUENCE = (6, 3)
NETS = {
    "mlp": (MLP, (5,)),
    "table net": (partial(TableNet, levels=[0, 3, 2, 0]), (5,)),
    "cnn": (CNN, (1, 8, 8)),
    "rnn": (partial(RNN, cell="rnn"), SEQUENCE),
    "lstm": (partial(RNN, cell="lstm", layers=2, bidirectional=True), SEQUENCE),
    "gru": (partial(RNN, cell="gru"), SEQUENCE),
    "transformer": (Transformer, SEQUENCE),
    "encoder_decoder": (EncoderDecoder, SEQUENCE),
}


@pytest.fixture(params=NETS)
def adapted(request):
    net, shape = NETS[request.param]
    torch.manual_seed(0)
    return LoRA(shape, 2, net).eval(), torch.randn(4, *shape)


def learn_something(net):
    with torch.no_grad():
        for value in net.up.values():
            value.normal_()


def test_it_starts_as_the_net_that_it_adapts(adapted):
    net, x = adapted
    torch.testing.assert_close(net(x), net.net(x))


def test_merged_weights_compute_the_same(adapted):
    net, x = adapted
    learn_something(net)
    learned = net(x)
    before = net.net(x)
    merged = copy.deepcopy(net).merge()
    torch.testing.assert_close(merged(x), learned, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(before, learned, atol=1e-2)
    assert all(parameter.requires_grad for parameter in merged.parameters())


def test_head_and_adapters_learn_and_nothing_else_does(adapted):
    net, x = adapted
    learn_something(net)
    net.train()(x).square().sum().backward()
    learning = {name for name, parameter in net.named_parameters() if parameter.grad is not None}
    head = {f"net.{name}" for name, _ in net.net.named_parameters() if name.startswith(tuple(net.net.head_names()))}
    adapters = {name for name, _ in net.named_parameters() if name.startswith(("up.", "down."))}
    assert learning == head | adapters


def test_a_weight_is_the_frozen_one_and_a_product_of_low_rank():
    net = LoRA((5,), 1, partial(MLP, hidden=[7]), rank=2, alpha=6.0)
    learn_something(net)
    change = net.weight("layers.1.weight") - net.net.layers[1].weight
    expected = 6.0 / 2 * net.up["layers/1/weight"] @ net.down["layers/1/weight"]
    torch.testing.assert_close(change, expected)
    assert torch.linalg.matrix_rank(change.detach(), atol=1e-5) == 2


def test_frozen_batch_norms_keep_their_statistics():
    net = LoRA((1, 8, 8), 2, CNN).train()
    norm = next(module for module in net.modules() if isinstance(module, nn.BatchNorm2d))
    before = norm.running_mean.clone()
    net(torch.randn(8, 1, 8, 8))
    assert norm.running_mean.equal(before)


def test_a_net_that_is_all_head_has_nothing_to_adapt():
    with pytest.raises(ValueError, match="LoRA: Linear has no linear.* layer before its head"):
        LoRA((3,), 1, Linear)
