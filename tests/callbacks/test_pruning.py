import pytest
import torch
from lightning.pytorch import Callback
from lightning.pytorch.callbacks import EarlyStopping

from project.callbacks import Pruning
from project.callbacks.pruning import count_zeros, require_prunable
from project.nets import MLP, LoRA
from project.runtime.errors import UserError
from tests.callbacks.fitting import fit, small_data, small_mlp

WEIGHTS = 2 * 4 + 4 * 4 + 4


class Zeros(Callback):
    """Counts zeros after each epoch."""

    def __init__(self):
        self.counts = []

    def on_train_epoch_end(self, trainer, pl_module):
        self.counts.append(count_zeros(pl_module.net.net)[0])


def prune(*callbacks, lr=0.1, **options):
    data = small_data()
    model = small_mlp(data)
    before = [value.clone() for value in model.net.net.parameters() if value.ndim == 2]
    trainer = fit(*callbacks, model=model, data=data, lr=lr, **options)
    return trainer, before, [value.detach() for value in model.net.net.parameters() if value.ndim == 2]


def test_the_smallest_weights_of_all_layers_become_zero():
    _, before, after = prune(Pruning(0.5, epochs=1), lr=0.0)
    before, after = (torch.cat([value.flatten() for value in values]) for values in (before, after))
    smallest = before.abs().argsort()[: WEIGHTS // 2]
    expected = before.clone()
    expected[smallest] = 0
    assert after.equal(expected)


def test_pruned_weights_stay_zero_while_the_others_learn():
    _, before, after = prune(Pruning(0.5, epochs=1))
    assert sum(int((value == 0).sum()) for value in after) == WEIGHTS // 2
    assert not any(value[value != 0].equal(start[value != 0]) for value, start in zip(after, before, strict=True))


def test_sparsity_rises_by_the_cubic_schedule():
    zeros = Zeros()
    prune(Pruning(0.75, epochs=4), zeros, max_epochs=6)
    expected = [0.75 * (1 - (1 - min(epoch / 4, 1)) ** 3) for epoch in range(1, 7)]
    assert zeros.counts == [round(WEIGHTS * sparsity) for sparsity in expected]


def test_early_stopping_starts_again_when_the_net_becomes_sparser():
    scores = []

    class Watch(Callback):
        def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
            if batch_idx == 0:
                scores.append(trainer.early_stopping_callback.best_score.item())

    prune(Pruning(0.5, epochs=2), EarlyStopping("val/loss"), Watch(), max_epochs=4)
    assert scores[:2] == [torch.inf, torch.inf]  # the second epoch is sparser than the first
    assert max(scores[2:]) < torch.inf


def test_training_that_ends_before_the_sparsity_is_reached_is_an_error():
    pruning = Pruning(0.5, epochs=3)
    trainer, _, _ = prune(pruning, max_steps=7)
    with pytest.raises(UserError, match="--pruning.sparsity 0.5: training ended at a sparsity of 0"):
        pruning.on_test_start(trainer, trainer.lightning_module)


def test_nets_that_cannot_be_pruned_are_an_error():
    with pytest.raises(UserError, match="prunes 0 of the 28 weights"):
        require_prunable(small_mlp(small_data()).net.net, 0.01)
    with pytest.raises(UserError, match="train without LoRA"):
        require_prunable(LoRA((2,), 1, net=lambda *shapes: MLP(*shapes, [4, 4])), 0.5)
