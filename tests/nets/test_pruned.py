"""Units that compute nothing are left out, and what a net computes stays the same."""

import pytest
import torch
from torch import nn

from project.nets import CNN, MLP, RNN, EncoderDecoder, Ensemble, Net, Pruned, Transformer
from project.nets.pruned import narrow, removable


def mlp():
    net = MLP((6,), 3, hidden=[5, 4])
    for layer, reader in ((net.layers[1], net.layers[4]), (net.layers[4], net.head)):
        layer.weight[2], layer.bias[2], reader.weight[:, 2] = 0, 0, 0
    return net, {"layers.1": 4, "layers.4": 3}


def cnn():
    net = CNN((2, 7, 5), 3, channels=[4, 6], hidden=8)
    for conv, norm in ((net.blocks[0], net.blocks[1]), (net.blocks[4], net.blocks[5])):
        norm.running_mean.normal_(), norm.running_var.uniform_(0.5, 2)
        conv.weight[1], norm.weight[1], norm.bias[1] = 0, 0, 0
        conv.weight[3], norm.weight[3], norm.bias[3] = 0, 0, 0
    net.blocks[4].weight[:, [1, 3]] = 0
    net.layers[1].weight.view(8, 6, 2 * 2)[:, [1, 3]] = 0  # maps of 2 x 2, channel by channel
    net.layers[1].weight[5], net.layers[1].bias[5], net.head.weight[:, 5] = 0, 0, 0
    return net, {"blocks.0": 2, "blocks.4": 4, "layers.1": 7}


def recurrence(cell, **options):
    net = RNN((9, 2), 3, cell=cell, hidden=5, **options)
    for unit, weights in zip((1, 3, 2, 4), ("l0", "l0_reverse", "l1", "l1_reverse"), strict=True):
        for kind in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
            if hasattr(net.recurrence, f"{kind}_{weights}"):
                getattr(net.recurrence, f"{kind}_{weights}").unflatten(0, (-1, 5))[:, unit] = 0
    return net, {"recurrence": 4}


def transformer(kind=Transformer, **options):
    net = kind((9, 2), 3, width=8, heads=4, layers=1, **options)
    units = {}
    for name, module in net.named_modules():
        if name.endswith("attention"):
            for part in (module.query, module.key, module.value):
                part.weight[2:4], part.bias[2:4] = 0, 0  # the second head
            module.out.weight[:, 2:4] = 0
            units[name] = 3
        if name.endswith("feed_forward"):
            module[1].weight[7], module[1].bias[7], module[3].weight[:, 7] = 0, 0, 0
            units[f"{name}.1"] = 31
    return net, units


def ensemble():
    net = Ensemble((6,), 3, [lambda *shapes: MLP(*shapes, hidden=[5])], copies=2, standardized=True, vectorize=False)
    for number, member in enumerate(net.members):
        member.net.layers[1].weight[number], member.net.layers[1].bias[number] = 0, 0
        member.net.head.weight[:, number] = 0
    return net, {"members.0.net.layers.1": 4, "members.1.net.layers.1": 4}


NETS = {
    "mlp": mlp,
    "cnn": cnn,
    "rnn": lambda: recurrence("rnn"),
    "gru": lambda: recurrence("gru"),
    "lstm, two layers": lambda: recurrence("lstm", layers=2),
    "gru, both directions": lambda: recurrence("gru", bidirectional=True),
    "lstm, two layers, both directions": lambda: recurrence("lstm", layers=2, bidirectional=True),
    "transformer": transformer,
    "transformer, not causal": lambda: transformer(causal=False),
    "encoder-decoder": lambda: transformer(EncoderDecoder),
    "ensemble": ensemble,
}


@pytest.mark.parametrize("name", NETS)
def test_units_that_compute_nothing_go_and_nothing_changes(name):
    torch.manual_seed(0)
    with torch.no_grad():
        net, units = NETS[name]()
    net.eval()
    x = torch.randn(7, *net.in_shape)
    before, count = net(x), sum(parameter.numel() for parameter in net.parameters())
    assert {layer: width.units for layer, width in removable(net).items()}.keys() == units.keys()
    narrow(net, units)
    torch.testing.assert_close(net(x), before)
    assert sum(parameter.numel() for parameter in net.parameters()) < count
    assert {layer: width.units for layer, width in removable(net).items()} == units
    net.train()(x).sum().backward()
    assert all(parameter.grad is not None for parameter in net.parameters())


@pytest.mark.parametrize("name", NETS)
def test_a_pruned_net_is_the_net_itself_and_takes_the_weights(name):
    with torch.no_grad():
        net, units = NETS[name]()
    with torch.no_grad():
        built = Pruned(net.in_shape, 3, lambda *_: NETS[name]()[0], units)
    narrow(net, units)
    assert type(built) is type(net)
    built.load_state_dict(net.state_dict())
    x = torch.randn(4, *net.in_shape)
    assert built.eval()(x).equal(net.eval()(x))


@pytest.mark.parametrize(
    ("wide", "slim", "units"),
    [
        (MLP((6,), 3, hidden=[8, 4]), MLP((6,), 3, hidden=[5, 2]), {"layers.1": 5, "layers.4": 2}),
        (
            CNN((1, 8, 8), 3, channels=[8, 16], hidden=12),
            CNN((1, 8, 8), 3, channels=[4, 8], hidden=6),
            {"blocks.0": 4, "blocks.4": 8, "layers.1": 6},
        ),
        (
            RNN((9, 2), 3, hidden=8, layers=3, bidirectional=True),
            RNN((9, 2), 3, hidden=3, layers=3, bidirectional=True),
            {"recurrence": 3},
        ),
    ],
    ids=["mlp", "cnn", "rnn"],
)
def test_what_is_left_is_a_net_of_that_size_and_says_so(wide, slim, units):
    narrow(wide, units)
    assert {name: value.shape for name, value in wide.state_dict().items()} == {
        name: value.shape for name, value in slim.state_dict().items()
    }
    assert str(wide) == str(slim)


class Wired(Net):
    """Some sizes are free, some are bound by a sum, a view or a module that is called elsewhere than it stands."""

    def __init__(self, in_shape, out_features):
        super().__init__(in_shape, out_features)
        self.convolution = nn.Conv1d(2, 8, 3, padding=1)
        self.recurrence = nn.LSTM(8, 5, batch_first=True)
        self.encoder = nn.TransformerEncoderLayer(5, 1, 16, batch_first=True)
        self.middle = nn.Linear(5, 10)
        self.skip = nn.Linear(10, 10)
        self.viewed = nn.Linear(10, 4)
        self.last = nn.Linear(4, 4)
        self.depthwise = nn.Conv1d(4, 4, 1, groups=4)
        self.head = nn.Linear(4, out_features)

    def forward(self, x):
        x = self.recurrence(self.convolution(x.mT).relu().mT)[0]
        x = self.middle(self.encoder(x).mean(1))
        x = self.viewed(x + self.skip(x).relu()).view(-1, 4)
        return self.head(self.depthwise(self.last(x)[:, :, None]).flatten(1))


def test_only_sizes_that_nothing_else_depends_on_are_removable():
    torch.manual_seed(0)
    assert removable(Wired((9, 2), 3)).keys() == {"convolution", "encoder.linear1"}


@pytest.mark.parametrize("units", [{"layers.1": 9}, {"layers.1": 0}, {"head": 1}, {"nowhere": 2}])
def test_units_that_are_not_there_are_an_error_that_names_those_that_are(units):
    with pytest.raises(ValueError, match=r"MLP: cannot keep . units of .*; it has layers.1: 8"):
        Pruned((6,), 3, lambda *shapes: MLP(*shapes, hidden=[8]), units)
