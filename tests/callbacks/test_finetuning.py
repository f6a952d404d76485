import pytest
from lightning.pytorch import Callback
from torch import nn

from project.callbacks import Finetuning
from project.callbacks.finetuning import frozen_names
from project.models import Regression
from project.nets.net import Net
from project.runtime.errors import UserError
from tests.callbacks.fitting import fit, small_data, small_mlp


class Trainable(Callback):
    """Records which layers require gradients in each epoch."""

    def __init__(self):
        self.layers = []

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if batch_idx == 0:
            names = {name.rpartition(".")[0] for name, p in pl_module.net.net.named_parameters() if p.requires_grad}
            self.layers.append(names)


class Normed(Net):
    """A batch norm between two layers."""

    def __init__(self, in_shape, out_features):
        super().__init__(in_shape, out_features)
        self.norm, self.head = nn.BatchNorm1d(in_shape[0]), nn.Linear(in_shape[0], out_features)

    def forward(self, x):
        return self.head(self.norm(x))


def test_a_frozen_backbone_keeps_its_weights_while_the_head_learns():
    data = small_data()
    model = small_mlp(data)
    before = {name: value.clone() for name, value in model.net.net.state_dict().items()}
    fit(Finetuning(["backbone"]), model=model, data=data)
    changed = {name for name, value in model.net.net.state_dict().items() if not value.equal(before[name])}
    assert changed == {"head.weight", "head.bias"}


def test_layers_are_unfrozen_from_the_head_down():
    data, trainable = small_data(), Trainable()
    fit(Finetuning(["backbone"], unfreeze_every=2), trainable, model=small_mlp(data), data=data, max_epochs=5)
    head, last, first = "head", "layers.4", "layers.1"
    assert trainable.layers == [{head}, {head}, {head, last}, {head, last}, {head, last, first}]


def test_a_frozen_batch_norm_keeps_its_statistics():
    data = small_data()
    model = Regression(data.in_shape, data.out_features, net=Normed, standardize=False)
    fit(Finetuning(["backbone"]), model=model, data=data)
    assert model.net.net.norm.running_mean.eq(0).all()
    assert model.net.net.norm.num_batches_tracked == 0


def test_learning_rates_decay_from_the_head_down():
    model = small_mlp(small_data())
    trainer = fit(Finetuning(layer_decay=0.5), model=model, lr=0.4)
    groups = trainer.optimizers[0].param_groups
    assert [group["lr"] for group in groups] == [0.4, 0.2, 0.1]
    net = model.net.net
    expected = [net.head, net.layers[4], net.layers[1]]
    for group, layer in zip(groups, expected, strict=True):
        assert {id(parameter) for parameter in group["params"]} == {id(p) for p in layer.parameters()}


def test_an_unknown_part_is_an_error_that_lists_the_parts():
    with pytest.raises(UserError, match="MLP has no part 'tail'; use one of backbone, layers, head"):
        frozen_names(small_mlp(small_data()).net.net, ["tail"])
    assert frozen_names(small_mlp(small_data()).net.net, ["head"]) == ["head"]
