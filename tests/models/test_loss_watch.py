import pytest
import torch

from project.models import Regression
from project.models.loss_watch import MAX_PENDING, LossWatch
from project.runtime.errors import UserError


class OnGPU(torch.Tensor):
    """A number that says that it is on a GPU."""

    device = torch.device("cuda")


def loss(value):
    return torch.tensor(value).as_subclass(OnGPU)


@pytest.fixture
def watch():
    import lightning

    model = Regression((1,), 1)
    model.trainer = lightning.Trainer(logger=False, enable_checkpointing=False)
    return LossWatch(model)


def test_losses_of_a_gpu_are_read_together_and_the_error_names_the_batch(watch):
    for batch, value in enumerate([1.0, 2.0, torch.nan, 1.0], start=1):
        watch.check(loss(value), batch)
    with pytest.raises(UserError, match="the loss is nan in epoch 1, batch 3;"):
        watch.flush()


def test_losses_of_a_gpu_are_read_before_too_many_are_collected(watch):
    watch.check(loss(torch.inf), 1)
    for batch in range(2, MAX_PENDING):
        watch.check(loss(1.0), batch)
    with pytest.raises(UserError, match="the loss is inf in epoch 1, batch 1;"):
        watch.check(loss(1.0), MAX_PENDING)


def test_the_first_loss_is_the_baseline_of_the_others(watch):
    watch.check(loss(5.0), 1)
    watch.check(loss(1e9), 2)
    with pytest.raises(UserError, match=r"the loss is 1e\+09 in epoch 1, batch 2;"):
        watch.flush()


def test_a_loss_on_the_cpu_is_checked_at_once(watch):
    watch.check(torch.tensor(1.0), 1)
    with pytest.raises(UserError, match="the loss is nan in epoch 1, batch 2;"):
        watch.check(torch.tensor(torch.nan), 2)
