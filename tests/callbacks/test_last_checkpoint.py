import signal

import pytest
import torch
from lightning.pytorch import Callback

from project.callbacks import LastCheckpoint
from project.models import Regression
from project.runtime.signals import Stopped
from tests.callbacks.fitting import fit


class SignalAt(Callback):
    """Sends a signal before a batch of the second epoch; comes before the callback under test."""

    def __init__(self, signum, batch):
        self.signum, self.batch = signum, batch

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if (trainer.current_epoch, batch_idx) == (1, self.batch):
            signal.raise_signal(self.signum)


def saved_steps(folder):
    return {path.name: torch.load(path, weights_only=True)["global_step"] for path in folder.iterdir()}


def last_checkpoint(folder, **options):
    last = LastCheckpoint(**options)
    last.folder = folder
    return last


def test_the_last_two_epochs_are_kept(tmp_path):
    fit(last_checkpoint(tmp_path))
    assert saved_steps(tmp_path) == {"last.ckpt": 18, "previous.ckpt": 12}


def test_a_signal_stops_training_between_two_steps(tmp_path):
    handler = signal.getsignal(signal.SIGTERM)
    with pytest.raises(Stopped) as stop:
        fit(SignalAt(signal.SIGTERM, 4), last_checkpoint(tmp_path))
    assert stop.value.signum == signal.SIGTERM
    assert saved_steps(tmp_path) == {"last.ckpt": 6 + 4, "previous.ckpt": 6}
    assert signal.getsignal(signal.SIGTERM) is handler


class SolvesFirst(Regression):
    """A model that takes long before the first step; keeps the handlers of signals meanwhile."""

    def on_train_start(self):
        super().on_train_start()
        self.interrupt, self.hangup = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGHUP)


def test_a_signal_before_the_first_epoch_is_not_delayed(tmp_path):
    handlers = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGHUP)
    model = SolvesFirst((2,), 1)
    fit(last_checkpoint(tmp_path), model=model)
    assert (model.interrupt, model.hangup) == handlers


def test_a_signal_waits_for_the_step_whose_gradients_are_accumulated(tmp_path):
    with pytest.raises(Stopped):
        fit(SignalAt(signal.SIGTERM, 1), last_checkpoint(tmp_path), accumulate_grad_batches=3)
    assert saved_steps(tmp_path)["last.ckpt"] == 2 + 1


def test_a_limit_of_steps_within_an_epoch_stops_there(tmp_path):
    with pytest.raises(Stopped) as stop:
        fit(last_checkpoint(tmp_path, max_steps=8))
    assert stop.value.signum == 0
    assert saved_steps(tmp_path)["last.ckpt"] == 8
