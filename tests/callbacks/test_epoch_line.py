import pytest

from project.callbacks import EpochLine
from project.runtime.errors import UserError
from project.stages.base import parse
from tests.callbacks.fitting import fit, small_data


def test_lines_are_printed_at_multiples_with_the_mean_loss_of_their_epoch(capsys):
    data = small_data()
    fit(EpochLine(2), data=data, lr=0.0, max_epochs=5)  # the untrained model predicts the mean of the targets
    variance = data.splits.train.y.var(correction=0).item()
    assert capsys.readouterr().out == f"Epoch [2/5], Loss: {variance:.4f}\nEpoch [4/5], Loss: {variance:.4f}\n"


def test_the_last_epoch_has_a_line(capsys):
    fit(EpochLine(3))
    assert capsys.readouterr().out.startswith("Epoch [3/3], Loss: ")


def test_zero_prints_nothing(capsys):
    fit(EpochLine(0))
    assert capsys.readouterr().out == ""


def test_a_negative_interval_is_an_error():
    with pytest.raises(UserError, match="--epoch_line.every_n_epochs: must be an integer, 0 or more, got -1"):
        parse(["--epoch_line.every_n_epochs", "-1"])
