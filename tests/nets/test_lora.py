import copy
from functools import partial

import pytest
import torch
from torch import nn

from project.nets import CNN, GPT, MLP, RNN, EncoderDecoder, Linear, LoRA, TableNet, Transformer

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


@pytest.mark.parametrize("tied", [False, True])
def test_a_language_model_learns_through_adapters_alone(tied):
    torch.manual_seed(0)
    net = LoRA((8,), 11, partial(GPT, width=16, layers=2, heads=2, tied=tied, zero_init=False), rank=2)
    learn_something(net)
    x = torch.randint(11, (3, 8))
    weights = {name: net.weight(name).detach() for name in net.adapted}
    original = copy.deepcopy(net.net.state_dict())
    assert ("head.weight" in net.adapted) is not tied
    for each in (copy.deepcopy(net), copy.deepcopy(net).merge()):
        torch.testing.assert_close(each(x), net(x), rtol=1e-5, atol=1e-5)
    merged = GPT((8,), 11, width=16, layers=2, heads=2, tied=tied)
    merged.load_state_dict(original | weights)
    torch.testing.assert_close(merged(x), net(x), rtol=1e-5, atol=1e-5)
    net(x).square().sum().backward()
    assert {name for name, value in net.named_parameters() if value.grad is not None} == {
        name for name, _ in net.named_parameters() if name.startswith(("up.", "down."))
    }


def test_only_some_layers_are_adapted():
    net = LoRA((8,), 11, partial(GPT, width=16, layers=2, heads=2), only=["query", "value"])
    assert net.adapted == [f"blocks.{k}.attention.{name}.weight" for k in (0, 1) for name in ("query", "value")]
    with pytest.raises(ValueError, match="LoRA: no layer's name ends with one of only, q_proj"):
        LoRA((8,), 11, partial(GPT, width=16, layers=2, heads=2), only=["q_proj"])


def test_weights_whose_head_was_trained_in_full_are_those_of_a_head_that_adapters_do_not_change():
    net = LoRA((8,), 11, partial(GPT, width=16, layers=1, heads=2, zero_init=False))
    learn_something(net)
    earlier = {name: value for name, value in net.state_dict().items() if "head/weight" not in name}
    assert len(earlier) == len(net.state_dict()) - 2
    opened = LoRA((8,), 11, partial(GPT, width=16, layers=1, heads=2))
    opened.load_state_dict(earlier)
    torch.nn.init.zeros_(net.up["head/weight"])
    x = torch.randint(11, (3, 8))
    torch.testing.assert_close(opened(x), net(x), rtol=0, atol=0)
    with pytest.raises(RuntimeError, match="blocks"):
        opened.load_state_dict({name: value for name, value in earlier.items() if "query" not in name})
