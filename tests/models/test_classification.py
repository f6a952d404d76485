from functools import partial

import numpy as np
import pytest
import torch
from lightning.pytorch import Trainer
from sklearn import metrics as sk
from sklearn.linear_model import LogisticRegression

from project.data import DigitsDataModule, SyntheticDataModule
from project.models import Classification
from project.runtime.errors import UserError


def test_metrics_over_uneven_batches_equal_scikit_learns():
    model = Classification((2,), 3)
    logits, y = torch.randn(101, 3), torch.randint(3, (101,))
    for part in torch.arange(101).split(40):
        model.val_metrics.update(logits[part], y[part])
    found = {name: value.item() for name, value in model.val_metrics.compute().items()}
    predicted = logits.argmax(1)
    assert found["accuracy"] == pytest.approx(sk.accuracy_score(y, predicted))
    assert found["f1"] == pytest.approx(sk.f1_score(y, predicted, average="macro"))
    assert found["loss"] == pytest.approx(sk.log_loss(y, logits.double().softmax(1)))
    assert np.array_equal(model.confusion_matrix(torch.zeros(4, 2), torch.tensor([0, 1, 2, 2])).sum(1), [1, 1, 2])


def test_linear_net_is_scikit_learns_logistic_regression():
    data = DigitsDataModule(batch_size=2_000)
    model = Classification(data.in_shape, data.out_features, l2=0.01)
    model.optimizer = partial(torch.optim.LBFGS, max_iter=100, line_search_fn="strong_wolfe")
    Trainer(accelerator="cpu", logger=False, enable_checkpointing=False, max_epochs=5, enable_progress_bar=False).fit(
        model, data
    )
    train, test = data.splits.train, data.splits.test
    standard = [
        ((rows.x - data.feature_statistics.mean) / data.feature_statistics.std).flatten(1) for rows in (train, test)
    ]
    reference = LogisticRegression(C=1 / (2 * 0.01 * len(train)), max_iter=5_000, tol=1e-8).fit(standard[0], train.y)
    probabilities = model.predict_step(test.x, 0).detach()
    np.testing.assert_allclose(probabilities, reference.predict_proba(standard[1]), atol=2e-3)


def test_targets_that_are_numbers_are_an_error_that_names_the_flag():
    with pytest.raises(UserError, match="--data.task classification"):
        Classification((1,), SyntheticDataModule().out_features)


@pytest.mark.parametrize("loss", [torch.nn.MSELoss, torch.nn.NLLLoss])
def test_a_loss_that_takes_no_logits_is_refused(loss):
    with pytest.raises(UserError, match="use CrossEntropyLoss"):
        Classification((2,), 3, loss=loss)


def test_class_numbers_of_a_wrong_shape_are_an_error():
    model = Classification((2,), 3)
    with pytest.raises(ValueError, match=r"\(5, 1\)"):
        model.check_targets(torch.randn(5, 3), torch.zeros(5, 1))
