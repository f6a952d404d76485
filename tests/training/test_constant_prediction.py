"""The constant prediction is scikit-learn's dummy estimator."""

import pytest
import torch
from sklearn import metrics as sk
from sklearn.dummy import DummyClassifier, DummyRegressor

from project.data import DigitsDataModule, SyntheticDataModule
from project.data.plain import PlainDataModule
from project.models import Classification, Regression
from project.training.constant_prediction import constant_metrics


def test_of_numbers_it_is_the_mean_of_the_training_targets():
    data = SyntheticDataModule()
    train, test = data.splits.train, data.splits.test
    dummy = DummyRegressor().fit(train.x, train.y).predict(test.x)
    found = constant_metrics(Regression((1,), 1), data)
    assert found["test/mse"] == pytest.approx(sk.mean_squared_error(test.y, dummy), rel=1e-6)
    assert found["test/r2"] == pytest.approx(sk.r2_score(test.y, dummy), rel=1e-4)


def test_of_classes_it_is_their_share_in_the_training_rows():
    data = DigitsDataModule()
    train, test = data.splits.train, data.splits.test
    dummy = DummyClassifier(strategy="prior").fit(train.x, train.y)
    found = constant_metrics(Classification(data.in_shape, 10), data)
    assert found["test/accuracy"] == pytest.approx(dummy.score(test.x, test.y))
    assert found["test/log_loss"] == pytest.approx(sk.log_loss(test.y, dummy.predict_proba(test.x)), rel=1e-6)
    assert found["test/auc"] == 0.5


def test_of_a_poisson_loss_it_is_a_rate():
    data = SyntheticDataModule()
    data.splits.train.y.abs_()
    data.splits.test.y.abs_()
    model = Regression((1,), 1, loss=torch.nn.PoissonNLLLoss)
    mean, y = data.target_statistics.mean.float(), data.splits.test.y
    expected = torch.nn.PoissonNLLLoss(log_input=False)(mean.expand_as(y), y).item()
    if mean > 0:
        assert constant_metrics(model, data)["test/loss"] == pytest.approx(expected, rel=1e-5)


def test_other_data_has_none():
    assert constant_metrics(Regression((1,), 1), PlainDataModule.__new__(PlainDataModule)) == {}
