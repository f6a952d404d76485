from datetime import timedelta

import pytest
from jsonargparse import Namespace
from lightning.pytorch.callbacks import (
    BackboneFinetuning,
    BatchSizeFinder,
    EarlyStopping,
    LearningRateFinder,
    ModelPruning,
    OnExceptionCheckpoint,
    SpikeDetection,
    StochasticWeightAveraging,
    Timer,
)

from project.callbacks.user_callbacks import user_callbacks
from project.models import Regression
from project.runtime.errors import UserError

MODEL = Regression((2,), 1)


def section(callbacks=None, max_time=None):
    return Namespace(callbacks=callbacks, max_time=max_time, enable_progress_bar=False)


def test_one_callback_or_none_becomes_a_list():
    stopping = EarlyStopping("val/loss")
    assert user_callbacks(section(stopping), MODEL, False, False) == [stopping]
    assert user_callbacks(section(), MODEL, False, False) == []


def test_a_time_limit_becomes_a_timer_that_does_not_end_an_epoch_early():
    config = section([EarlyStopping("val/loss")], timedelta(seconds=90))
    _, timer = user_callbacks(config, MODEL, False, False)
    assert isinstance(timer, Timer)
    assert 89 < timer.time_remaining() <= 90
    assert timer._interval == "epoch"
    assert config.max_time is None


def test_a_resumed_run_does_not_search_again():
    finders = [LearningRateFinder(), BatchSizeFinder()]
    stopping = EarlyStopping("val/loss")
    assert user_callbacks(section([*finders, stopping]), MODEL, False, False) == [*finders, stopping]
    assert user_callbacks(section([*finders, stopping]), MODEL, True, False) == [stopping]


@pytest.mark.parametrize(
    ("callback", "told"),
    [
        (StochasticWeightAveraging(0.1), "StochasticWeightAveraging: .*; use EMAWeightAveraging"),
        (SpikeDetection(), "SpikeDetection: Lightning cannot restore its state; resume with --trainer.callbacks null"),
    ],
)
def test_what_lightning_does_not_resume_is_an_error_unless_nothing_is_left_to_train(callback, told):
    with pytest.raises(UserError, match=told):
        user_callbacks(section(callback), MODEL, True, False)
    assert user_callbacks(section(callback), MODEL, False, False) == [callback]
    user_callbacks(section(callback), MODEL, True, True)


@pytest.mark.parametrize(
    ("callback", "told"),
    [
        (ModelPruning("l1_unstructured"), "ModelPruning: checkpoints lack its masks.*; use --pruning.sparsity"),
        (OnExceptionCheckpoint("."), "OnExceptionCheckpoint: with it, Lightning resumes from any checkpoint"),
        (BackboneFinetuning(), "BackboneFinetuning: Regression has no `backbone`; use --finetuning.freeze"),
    ],
)
def test_a_callback_that_would_make_a_run_inexact_is_refused_by_name(callback, told):
    with pytest.raises(UserError, match=told):
        user_callbacks(section(callback), MODEL, False, False)
