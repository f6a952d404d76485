from functools import partial

import pytest
import torch
from lightning.pytorch import Callback
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint
from lightning.pytorch.cli import ReduceLROnPlateau
from torch.optim.lr_scheduler import OneCycleLR

from project.callbacks import ScheduleChecks
from project.models import Regression
from project.runtime.errors import UserError
from tests.callbacks.fitting import fit, small_data


def scheduled(*callbacks, scheduler=None, interval="epoch", checks=None, **options):
    """Fit for three epochs of six batches; return the Trainer."""
    data = small_data()
    model = Regression(data.in_shape, data.out_features, lr_scheduler=scheduler, lr_interval=interval)
    return fit(checks or ScheduleChecks(), *callbacks, model=model, data=data, **options)


def one_cycle(steps):
    return partial(OneCycleLR, max_lr=0.1, total_steps=steps)


@pytest.mark.parametrize(
    ("steps", "options", "fix"),
    [
        (2, {}, "has 2 steps, but training takes 3 .one per epoch.; set --lr_scheduler.total_steps 3"),
        (17, {"interval": "step"}, "has 17 steps, but training takes 18 .one per step.; set .*total_steps 18"),
        (8, {"interval": "step", "accumulate_grad_batches": 2}, "has 8 steps, but training takes 9"),
        (9, {"interval": "step", "checks": ScheduleChecks(10)}, "has 9 steps, but training takes 10"),
        (9, {"max_epochs": -1}, "training takes inf .one per epoch.; set --trainer.max_epochs"),
    ],
)
def test_a_schedule_that_is_too_short_is_found_before_training(steps, options, fix):
    with pytest.raises(UserError, match=f"--lr_scheduler OneCycleLR: .*{fix}"):
        scheduled(scheduler=one_cycle(steps), **options)


def test_a_schedule_that_is_just_long_enough_lasts():
    assert scheduled(scheduler=one_cycle(3)).global_step == 18
    assert scheduled(scheduler=one_cycle(18), interval="step").global_step == 18


def plateau(monitor="val/loss"):
    return partial(ReduceLROnPlateau, monitor=monitor, patience=0, threshold=1e9, factor=0.5)


@pytest.mark.parametrize(("every", "halved"), [(1, 4), (2, 2), (3, 1)])
def test_a_plateau_is_looked_for_after_each_validation(every, halved):
    """No value is better by the threshold, so that every one halves the rate."""
    trainer = scheduled(scheduler=plateau(), max_epochs=4, check_val_every_n_epoch=every)
    assert trainer.optimizers[0].param_groups[0]["lr"] == pytest.approx(0.1 * 0.5**halved)


@pytest.mark.parametrize(
    ("callbacks", "options", "told"),
    [
        (
            (),
            {"scheduler": plateau("val_loss")},
            "--lr_scheduler.monitor val_loss: no such metric; use one of train/loss",
        ),
        ((), {"scheduler": plateau(), "limit_val_batches": 0}, "val/loss: no such metric; there is no validation; use"),
        ((), {"scheduler": plateau(), "interval": "step"}, "--model.lr_interval step: .*; set it to epoch"),
        (
            (),
            {"scheduler": plateau(), "check_val_every_n_epoch": None, "val_check_interval": 8},
            "--lr_scheduler.monitor val/loss: is not computed after each epoch",
        ),
        ((EarlyStopping("val/accuracy"),), {}, "--trainer.callbacks.monitor val/accuracy: no such metric"),
        ((ModelCheckpoint(monitor="val_mse"),), {"enable_checkpointing": True}, "monitor val_mse: no such .* val/mse"),
    ],
)
def test_a_metric_that_is_not_there_is_found_before_training(callbacks, options, told, tmp_path):
    with pytest.raises(UserError, match=told):
        scheduled(*callbacks, default_root_dir=tmp_path, **options)


class Score(Callback):
    def on_train_epoch_end(self, trainer, pl_module):
        pl_module.log("score", torch.tensor(1.0))


def test_a_metric_of_a_callback_of_the_users_may_be_monitored():
    assert scheduled(Score(), EarlyStopping("score", patience=1)).current_epoch == 2
