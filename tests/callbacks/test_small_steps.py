import os
from types import SimpleNamespace

import pytest
import torch
from lightning.pytorch import Callback, Trainer
from torch import nn

from project.callbacks import SmallSteps
from project.callbacks.small_steps import row_flops
from project.data import SyntheticDataModule
from project.models import Regression
from project.nets import CNN, MLP, RNN, Ensemble, Linear, TableNet, Transformer


class ThreadsSeen(Callback):
    def __init__(self, net):
        self.seen = {True: set(), False: set()}
        net.register_forward_hook(lambda net, *_: self.seen[net.training].add(torch.get_num_threads()))


@pytest.fixture
def two_threads(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS")
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))


def threads_of_steps_and_validation(net, batch_size=32):
    data = SyntheticDataModule(rows=64, features=4, batch_size=batch_size)
    model, seen = Regression((4,), 1, net=net), ThreadsSeen(net)
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    Trainer(max_epochs=2, accelerator="cpu", callbacks=[SmallSteps(), seen], enable_model_summary=False, **quiet).fit(
        model, data
    )
    return seen.seen[True], seen.seen[False]


def test_only_small_steps_run_in_one_thread_and_validation_never(two_threads):
    assert threads_of_steps_and_validation(MLP((4,), 1)) == ({1}, {2})
    assert threads_of_steps_and_validation(MLP((4,), 1, hidden=[700, 700])) == ({2}, {2})
    assert torch.get_num_threads() == 2


def test_a_chosen_number_of_threads_is_kept(two_threads, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    assert threads_of_steps_and_validation(MLP((4,), 1)) == ({2}, {2})


@pytest.mark.parametrize("batch_size", [None, "auto"])
def test_data_without_a_number_of_rows_a_batch_keep_their_threads(two_threads, batch_size):
    steps = SmallSteps()
    steps.on_train_start(SimpleNamespace(datamodule=SimpleNamespace(batch_size=batch_size)), Regression((4,), 1))
    assert steps.threads is None


def test_nets_of_others_keep_their_threads(two_threads):
    class Other(nn.Linear):
        """Of another package than torch."""

    assert row_flops(Ensemble((4,), 1, nets=[Other(4, 1)])) == float("inf")


@pytest.mark.parametrize("net", [Linear((6,), 2), MLP((6,), 2), RNN((5, 3), 2, cell="lstm")])
def test_each_weight_counts_a_multiplication_and_an_addition_for_each_position(net):
    times = {parameter: 5 if "recurrence" in name else 1 for name, parameter in net.named_parameters()}
    expected = sum(2 * parameter.numel() * count for parameter, count in times.items() if parameter.ndim > 1)
    assert row_flops(net) == expected


@pytest.mark.parametrize(
    "net", [CNN((1, 8, 8), 2), TableNet((6,), 2), Transformer((5, 3), 2), Ensemble((6,), 2, nets=[MLP], copies=3)]
)
def test_nets_of_any_kind_are_counted_and_stay_as_they_are(net):
    assert 0 < row_flops(net) < float("inf")
    assert not any(parameter.is_meta for parameter in net.parameters())
