import numpy as np
import pytest

from project.data import FriedmanDataModule
from project.runtime.errors import UserError


def test_without_noise_rows_follow_friedmans_formula():
    train = FriedmanDataModule(noise=0).splits.train
    x, y = train.x.double().numpy(), train.y.double().numpy()
    expected = 10 * np.sin(np.pi * x[:, 0] * x[:, 1]) + 20 * (x[:, 2] - 0.5) ** 2 + 10 * x[:, 3] + 5 * x[:, 4]
    np.testing.assert_allclose(y[:, 0], expected, atol=1e-4)
    assert x.shape[1] == 10


def test_too_few_features_are_named():
    with pytest.raises(UserError, match="--data.features: must be 5 or more, got 4"):
        FriedmanDataModule(features=4)
