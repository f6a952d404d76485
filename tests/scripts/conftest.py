"""Fixtures of the tests with hostile files."""

import pytest
import torch


@pytest.fixture
def marker(folder, monkeypatch):
    """A path that hostile code would create; after the test, neither it nor a run may exist."""
    path = folder / "marker"
    (folder / "planted.py").write_text(f"open({str(path)!r}, 'w')\nclass Net: ...\n")
    monkeypatch.syspath_prepend(str(folder))
    yield path
    assert not path.exists()
    assert not list(folder.glob("lightning_logs/*"))


@pytest.fixture
def checkpoint(default_run):
    return torch.load(default_run[0] / "checkpoints" / "last.ckpt", weights_only=True)
