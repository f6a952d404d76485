from datetime import timedelta

import pytest
from jsonargparse import Namespace
from lightning.pytorch.callbacks import (
    BatchSizeFinder,
    EarlyStopping,
    LearningRateFinder,
    StochasticWeightAveraging,
    Timer,
)

from project.callbacks.user_callbacks import user_callbacks
from project.runtime.errors import UserError


def section(callbacks=None, max_time=None):
    return Namespace(callbacks=callbacks, max_time=max_time, enable_progress_bar=False)


def test_one_callback_or_none_becomes_a_list():
    stopping = EarlyStopping("val/loss")
    assert user_callbacks(section(stopping), False, False) == [stopping]
    assert user_callbacks(section(), False, False) == []


def test_a_time_limit_becomes_a_timer_that_does_not_end_an_epoch_early():
    config = section([EarlyStopping("val/loss")], timedelta(seconds=90))
    _, timer = user_callbacks(config, False, False)
    assert isinstance(timer, Timer)
    assert 89 < timer.time_remaining() <= 90
    assert timer._interval == "epoch"
    assert config.max_time is None


def test_a_resumed_run_does_not_search_again():
    finders = [LearningRateFinder(), BatchSizeFinder()]
    stopping = EarlyStopping("val/loss")
    assert user_callbacks(section([*finders, stopping]), False, False) == [*finders, stopping]
    assert user_callbacks(section([*finders, stopping]), True, False) == [stopping]


def test_averages_that_lightning_does_not_resume_are_an_error_unless_nothing_is_left_to_train():
    averaging = StochasticWeightAveraging(0.1)
    with pytest.raises(UserError, match="StochasticWeightAveraging: .*; use EMAWeightAveraging"):
        user_callbacks(section(averaging), True, False)
    assert user_callbacks(section(averaging), True, True) == [averaging]
    assert user_callbacks(section(averaging), False, False) == [averaging]
