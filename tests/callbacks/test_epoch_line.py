import pytest

from project.callbacks import EpochLine
from project.runtime.errors import UserError


def test_a_negative_interval_is_an_error():
    with pytest.raises(UserError, match="every_n_epochs is -1"):
        EpochLine(-1)
