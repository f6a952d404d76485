import csv
from functools import partial
from pathlib import Path

import pytest
import torch
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.callbacks import (
    GradientAccumulationScheduler,
    LearningRateMonitor,
    ModelCheckpoint,
    StochasticWeightAveraging,
)
from lightning.pytorch.loggers import CSVLogger

from project.data import SyntheticDataModule
from project.models import Regression
from project.nets import MLP

QUIET = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "enable_model_summary": False}


class CountSteps(Callback):
    def __init__(self):
        self.steps = 0

    def on_train_batch_end(self, *_):
        self.steps += 1


def fit(callbacks=(), optimizer=torch.optim.Adam, scheduler=None, model=Regression, **options):
    torch.manual_seed(0)
    data = SyntheticDataModule(rows=990, features=3, batch_size=10)
    net = partial(MLP, hidden=[8], dropout=0.2)
    learner = model(data.in_shape, 1, net=net, optimizer=partial(optimizer, lr=0.01), lr_scheduler=scheduler)
    trainer = Trainer(max_epochs=2, callbacks=list(callbacks), **QUIET | options)
    trainer.fit(learner, data)
    return learner, trainer


@pytest.mark.parametrize("optimizer", [torch.optim.Adam, torch.optim.LBFGS])
def test_several_steps_in_one_are_the_same_steps(optimizer):
    watcher = CountSteps()
    fast, fast_trainer = fit(optimizer=optimizer)
    slow, slow_trainer = fit([watcher], optimizer=optimizer)
    assert watcher.steps == 2 * 99
    assert fast_trainer.global_step == slow_trainer.global_step == 2 * 99
    assert all(a.equal(b) for a, b in zip(fast.parameters(), slow.parameters(), strict=True))
    expected = {name: value.item() for name, value in slow_trainer.callback_metrics.items()}
    found = {name: value.item() for name, value in fast_trainer.callback_metrics.items()}
    assert found == pytest.approx(expected, rel=1e-6), "but for the size of what is evaluated at once"
    assert fast.running.rows == slow.running.rows == 2 * 990


def items(*arguments, **options):
    _, trainer = fit(*arguments, **options)
    return trainer.fit_loop.epoch_loop.batch_progress.total.completed


def test_a_limit_of_one_batch_is_one_batch():
    model, trainer = fit(limit_train_batches=1)
    assert (model.running.rows, trainer.global_step) == (2 * 10, 2)


def test_curves_are_placed_at_optimizer_steps(folder):
    _, trainer = fit(logger=CSVLogger("."))
    trainer.logger.save()
    with (Path(trainer.log_dir) / "metrics.csv").open() as file:
        assert {int(line["step"]) for line in csv.DictReader(file)} == {98, 197}


def test_predictions_come_row_by_row_in_order():
    model, trainer = fit()
    data = trainer.datamodule
    predicted = torch.cat(trainer.predict(model, data))
    torch.testing.assert_close(predicted, model.eval()(data.splits.test.x).detach())


def test_a_plain_fit_takes_64_batches_an_item():
    assert items() == 2 * 2


def test_schedules_by_epoch_leave_steps_together():
    assert items(scheduler=lambda optimizer: torch.optim.lr_scheduler.StepLR(optimizer, 1)) == 2 * 2


@pytest.mark.parametrize(
    "options",
    [
        {"callbacks": [CountSteps()]},
        {"callbacks": [LearningRateMonitor("step")], "logger": True},
        {"accumulate_grad_batches": 2},
        {"max_steps": 150},
        *(
            pytest.param(options, marks=pytest.mark.slow)
            for options in (
                {"callbacks": [GradientAccumulationScheduler({0: 1, 1: 2})]},
                {"callbacks": [StochasticWeightAveraging(0.05)]},
                {"limit_val_batches": 1},
                {"callbacks": [ModelCheckpoint(every_n_train_steps=5)], "enable_checkpointing": True},
                {"gradient_clip_val": 1.0},
                {"precision": "bf16-mixed"},
                {"limit_train_batches": 80},
                {"val_check_interval": 7},
            )
        ),
    ],
    ids=lambda options: next(reversed(options)),
)
def test_what_looks_at_single_steps_gets_single_steps(folder, options):
    assert items(**options) >= 150


def test_a_model_with_a_training_step_of_its_own_gets_single_batches():
    class Own(Regression):
        def training_step(self, batch, batch_idx):
            x, y = batch
            return super().training_step((x, y), batch_idx)

    assert items(model=Own) == 2 * 99
