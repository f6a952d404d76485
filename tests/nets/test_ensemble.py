from functools import partial

import numpy as np
import pytest
import torch

from project.nets import CNN, MLP, RNN, Ensemble, Linear

SMALL = partial(MLP, hidden=[8], dropout=0.0)


def ensemble(*nets, copies=1, shape=(3,), outputs=2, **arguments):
    torch.manual_seed(5)
    return Ensemble(shape, outputs, list(nets), copies, **arguments).eval()


def test_outputs_are_the_mean_over_members_and_spread_their_deviation():
    net, x = ensemble(SMALL, Linear, SMALL), torch.randn(4, 3)
    each = np.stack([member(x).detach().numpy() for member in net.members])
    np.testing.assert_allclose(net(x).detach(), each.mean(0), rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(net.spread(x).detach(), each.std(0), rtol=1e-5, atol=1e-7)


def test_of_classes_probabilities_are_averaged():
    net, x = ensemble(SMALL, SMALL), torch.randn(4, 3)
    net.classifies = True
    each = np.exp(np.stack([member(x).detach().numpy() for member in net.members]))
    probabilities = each / each.sum(2, keepdims=True)
    np.testing.assert_allclose(net(x).softmax(1).detach(), probabilities.mean(0), rtol=1e-5)
    np.testing.assert_allclose(net.spread(x).detach(), probabilities.std(0), rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("net", [Linear, SMALL], ids=["linear", "mlp"])
def test_members_computed_together_are_those_computed_apart(net):
    together, x = ensemble(net, copies=4), torch.randn(6, 3)
    assert not together.members
    with torch.no_grad():
        for value in together.stacked.values():
            value.normal_()
    outputs = together.each(x)
    together.separate()
    assert len(together.members) == 4
    torch.testing.assert_close(together.each(x), outputs)


def test_member_k_starts_as_the_net_alone_does_from_the_seed_plus_k():
    torch.manual_seed(5)
    net = Ensemble((3,), 2, [SMALL], copies=3, vectorize=False)
    for k, member in enumerate(net.members):
        torch.manual_seed(5 + k)
        alone = SMALL((3,), 2)
        assert all(a.equal(b) for a, b in zip(alone.parameters(), member.parameters(), strict=True))


@pytest.mark.parametrize(
    ("net", "shape"), [(RNN, (4, 3)), (CNN, (1, 8, 8)), (partial(MLP, hidden=[400, 400]), (3,))], ids=str
)
def test_what_cannot_be_computed_together_or_would_not_gain_is_not(net, shape):
    built = ensemble(net, copies=2, shape=shape)
    assert len(built.members) == 2
    assert built(torch.randn(2, *shape)).shape == (2, 2)


def test_heads_and_layers_are_those_of_all_members():
    net = ensemble(SMALL, Linear)
    assert net.head_names() == ["members.0.head", "members.1.linear"]
    assert net.backbone_names() == [["members.0.layers.1.weight", "members.0.layers.1.bias"]]
    assert ensemble(SMALL, copies=2).head_names() == ["stacked.head/weight", "stacked.head/bias"]


def test_an_ensemble_of_nothing_is_refused():
    with pytest.raises(ValueError, match="got 0 nets and 1 copies"):
        ensemble()
