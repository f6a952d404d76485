import numpy as np
import pytest
import torch
from sklearn.preprocessing import StandardScaler

from project.data import statistics as module
from project.data.statistics import statistics


@pytest.mark.parametrize("offset", [0.0, 1e6])
def test_table_statistics_equal_scikit_learns(offset, monkeypatch):
    monkeypatch.setattr(module, "BLOCK_ROWS", 37)
    x = torch.randn(500, 4, dtype=torch.float64) * 3 + offset
    x[:, 2] = 0.1  # constant, and not a binary fraction
    expected = StandardScaler().fit(x.numpy())
    found = statistics(x)
    np.testing.assert_allclose(found.mean, expected.mean_, rtol=1e-12)
    np.testing.assert_allclose(found.std, expected.scale_, rtol=1e-9)
    assert found.constant.tolist() == [False, False, True, False]
    assert found.mean[2] == 0.1


@pytest.mark.parametrize(("shape", "axes"), [((9, 5, 2), (0, 1)), ((9, 3, 4, 4), (0, 2, 3))])
def test_series_and_images_have_statistics_by_channel(shape, axes, monkeypatch):
    monkeypatch.setattr(module, "BLOCK_ROWS", 4)
    x = torch.randn(shape)
    found = statistics(x)
    np.testing.assert_allclose(found.mean.flatten(), x.numpy().mean(axes), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(found.std.flatten(), x.numpy().std(axes), rtol=1e-5)
    assert (x - found.mean).shape == x.shape
