import pytest
import torch

from project.callbacks import Pretrained
from project.callbacks.pretrained import weight_changes
from project.models import Regression
from project.nets import MLP
from project.runs.weights import Weights
from project.runtime.errors import UserError
from tests.callbacks.fitting import fit, small_data, small_mlp


@pytest.fixture
def source(monkeypatch):
    """A model whose weights are read for any path."""
    model = small_mlp(small_data())
    with torch.no_grad():
        for value in model.net.state_dict().values():
            value.add_(0.5)
    weights = Weights(model.state_dict(), {"target_names": ["y"], "class_names": None})
    monkeypatch.setattr("project.callbacks.pretrained.read_weights", lambda *_, **__: weights)
    return model


def other(outputs=1, hidden=(4, 4)):
    torch.manual_seed(1)
    return Regression((2,), outputs, net=lambda *shapes: MLP(*shapes, list(hidden)))


def test_loaded_weights_predict_what_the_source_predicts(source):
    model = other()
    Pretrained("run").load(model)
    x = torch.randn(5, 2)
    assert model(x).equal(source(x))


def test_weights_of_another_net_are_an_error_or_loaded_where_they_fit(source):
    with pytest.raises(UserError, match=r"another net \(unexpected net.layers.4.bias, net.layers.4.weight\)"):
        Pretrained("run").load(other(hidden=[4]))
    model = other(hidden=[4])
    with pytest.warns(UserWarning, match="unexpected net.layers.4.bias"):
        Pretrained("run", strict=False).load(model)
    assert model.net.net.layers[1].weight.equal(source.net.net.layers[1].weight)


def test_other_targets_keep_the_initial_head(source):
    data, model = small_data(outputs=3), other(outputs=3)
    head = model.net.net.head.weight.clone()
    pretrained = Pretrained("run")
    pretrained.choose_parts(data)
    pretrained.load(model)
    assert pretrained.reinitialize == ["head"]
    assert model.net.net.head.weight.equal(head)
    assert model.net.net.layers[1].weight.equal(source.net.net.layers[1].weight)


def test_the_report_has_the_largest_change_of_each_part(source):
    data, model, pretrained = small_data(), other(), Pretrained("run")
    fit(pretrained, model=model, data=data)
    before, after = source.net.net.state_dict(), model.net.net.state_dict()
    for part, count in (("layers", 4 * 3 + 4 * 5), ("head", 5)):
        found = pretrained.weight_changes[part]
        moved = max((after[n] - before[n]).abs().max().item() for n in before if n.startswith(part))
        assert moved > 0
        assert found == (count, count, pytest.approx(moved), 0.0)
    assert pretrained.metrics()["parameters"] == 37


def test_a_reinitialised_part_has_no_change_whatever_its_shape():
    net = other(outputs=3).net.net
    start = other(outputs=1).net.net.state_dict()
    changes = weight_changes(net, start, ["head"])
    assert changes["head"].change != changes["head"].change
    assert changes["layers"].change == 0.0


def test_options_without_a_path_are_an_error():
    with pytest.raises(UserError, match="--weights.strict: has no effect without --weights.path"):
        Pretrained(strict=False)
