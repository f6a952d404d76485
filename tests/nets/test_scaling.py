import torch

from project.nets import Linear
from project.nets.scaling import Standardize, Standardized


def test_inverse_undoes_forward():
    scaling = Standardize((3,))
    scaling.fill(torch.tensor([1.0, 2.0, 3.0]), torch.tensor([0.5, 1.0, 2.0]))
    x = torch.randn(5, 3)
    torch.testing.assert_close(scaling.inverse(scaling(x)), x)


def test_outputs_of_low_precision_do_not_round_target_units():
    scaling = Standardize((1,))
    scaling.fill(torch.tensor([1000.0]), torch.tensor([2.0]))
    values = scaling.inverse(torch.tensor([[0.5], [0.25]], dtype=torch.bfloat16))
    assert values.flatten().tolist() == [1001.0, 1000.5]


def test_raw_features_in_and_target_units_out():
    net = Standardized(Linear((2,), 1), (2,), (1,))
    net.net.linear.weight.data = torch.tensor([[1.0, -1.0]])
    net.features.fill(torch.tensor([10.0, 20.0]), torch.tensor([2.0, 4.0]))
    net.targets.fill(torch.tensor([100.0]), torch.tensor([5.0]))
    assert net(torch.tensor([[12.0, 20.0]])).item() == 105.0  # one deviation up in x1 is one up in y
    assert set(net.state_dict()) >= {"features.mean", "features.std", "targets.mean", "targets.std"}
