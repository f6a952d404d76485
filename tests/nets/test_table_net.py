from functools import partial

import pytest
import torch
from torch import nn

from project.nets import Ensemble, LoRA, Pruned, TableNet
from project.nets.net import Net
from project.nets.plain import build


def test_an_outlier_is_no_more_than_an_extreme_value():
    torch.manual_seed(0)
    net, x = TableNet((3,), 1).eval(), torch.randn(4, 3)
    far, farther, other = (x.clone() for _ in range(3))
    far[:, 0], farther[:, 0], other[:, 0] = 1e3, 1e7, -1e3
    torch.testing.assert_close(net(far), net(farther), rtol=1e-3, atol=1e-3)
    assert not torch.allclose(net(far), net(other), atol=0.01)


def test_waves_are_of_numbers_and_not_of_the_levels_of_a_category():
    torch.manual_seed(0)
    net, x = TableNet((4,), 2, levels=[3, 0, 2]), torch.randn(8, 4)
    others = torch.cat([torch.randn(8, 2), x[:, 2:3], torch.randn(8, 1)], dim=1)
    numbers = [net.numbers(rows.index_select(1, net.places)) for rows in (x, others)]
    assert numbers[0].equal(numbers[1])
    assert [layer.in_features for layer in net.categories] == [2, 1]


def test_a_linear_model_of_the_inputs_is_added():
    torch.manual_seed(0)
    net, x = TableNet((4,), 1, levels=[3, 0, 0]).eval(), 0.01 * torch.randn(8, 4)
    before = net(x)
    nn.init.normal_(net.linear.weight)
    torch.testing.assert_close(net(x) - before, 10 * x @ net.linear.weight.T, rtol=1e-3, atol=1e-5)


class Levels(Net):
    """A net that wants to know which of its inputs are levels of one category."""

    def __init__(self, in_shape, out_features, levels=None):
        super().__init__(in_shape, out_features)
        self.levels, self.layer, self.head = levels, nn.Linear(*in_shape, 2), nn.Linear(2, out_features)

    def forward(self, x):
        return self.head(self.layer(x))


def plain(in_features, out_features):
    return nn.Linear(in_features, out_features)


@pytest.mark.parametrize(
    "net",
    [
        Levels,
        partial(Ensemble, nets=[Levels]),
        partial(Pruned, net=Levels, units={}),
        partial(LoRA, net=Levels),
    ],
)
def test_a_net_is_told_the_levels_through_any_other_net(net):
    built = build(net, (3,), 1, [3, 0])
    assert [module.levels for module in built.modules() if isinstance(module, Levels)] == [[3, 0]]


def test_a_net_that_does_not_ask_for_levels_is_not_told_and_rows_without_categories_have_none():
    assert build(plain, (3,), 1, [3, 0]).module.in_features == 3
    assert build(partial(Levels, levels=7), (3,), 1, None).levels == 7  # a meaning of its own
