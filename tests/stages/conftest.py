"""Fixtures of the tests that prune."""

import pytest

from project.inference import compare
from tests.stages.pruning import TABLE
from tests.trained import trained


@pytest.fixture
def hurried(monkeypatch):
    """Nobody reads how fast these nets are."""
    monkeypatch.setattr(compare, "ROUNDS", 1)


@pytest.fixture
def mlp(folder, capsys):
    """A run of an MLP with 3 x 8 + 8 x 6 + 6 = 78 weights."""
    return trained(TABLE)
