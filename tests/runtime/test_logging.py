"""Lightning reports what the user has asked for, and nothing else."""

import logging

import pytest

from project.training.train import train

SHORT = ["--epoch_line.every_n_epochs", "0", "--trainer.max_epochs", "2"]
STOPPING = [
    "--trainer.callbacks+=EarlyStopping",
    "--trainer.callbacks.monitor=val/loss",
    "--trainer.callbacks.verbose=true",
]
FINDING = ["--trainer.callbacks+=LearningRateFinder", "--trainer.callbacks.num_training_steps=20"]
SAVING = [
    "--trainer.callbacks+=ModelCheckpoint",
    "--trainer.callbacks.monitor=val/loss",
    "--trainer.callbacks.verbose=true",
]


@pytest.fixture
def messages():
    found, handler = [], logging.Handler()
    handler.emit = lambda record: found.append(record.getMessage())
    logger = logging.getLogger("lightning.pytorch")
    logger.addHandler(handler)
    yield found
    logger.removeHandler(handler)


def test_nothing_is_reported_by_default(folder, messages):
    train(SHORT)
    assert messages == []


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--trainer.profiler", "simple"], "Profiler Report"),
        (STOPPING, "Metric val/loss improved"),
        (SAVING, "'val/loss' reached"),
        (FINDING, "LR finder"),
        (["--trainer.callbacks", "ModelSummary"], "Trainable params"),
    ],
)
def test_what_was_asked_for_is_reported(folder, messages, flags, message):
    train([*SHORT, *flags])
    assert message in "\n".join(messages)
    assert "TPU" not in "\n".join(messages)


@pytest.mark.parametrize("bar", ["RichProgressBar", "TQDMProgressBar"])
def test_a_progress_bar_that_was_asked_for_works_without_a_terminal(folder, capsys, bar):
    train([*SHORT, "--trainer.callbacks", bar])
    assert "Epoch" in "".join(capsys.readouterr())
