from functools import partial

import numpy as np
import pytest
import torch
from lightning.pytorch import Trainer
from sklearn import metrics as sk
from sklearn.linear_model import LinearRegression, LogisticRegression, PoissonRegressor, QuantileRegressor
from torch import nn
from torch.distributions import Poisson
from torch.optim.lr_scheduler import ExponentialLR

from project.data.datamodule import RowsDataModule, Splits
from project.data.loader import Rows
from project.models import Classification, PinballLoss, Regression
from project.models.losses import mean_loss
from project.nets import Ensemble, Linear
from project.runtime.errors import UserError

BALANCED = partial(nn.CrossEntropyLoss, weight=torch.tensor([1.0, 5.0]))


class Made(RowsDataModule):
    """Rows of two features, with classes or counts that depend on them."""

    feature_names, target_names = ["a", "b"], ["y"]

    def __init__(self, counts):
        super().__init__(batch_size=400)
        self.counts, self.class_names = counts, None if counts else ["no", "yes"]

    def load(self):
        generator = torch.Generator().manual_seed(0)
        x = torch.randn(600, 2, generator=generator) * torch.tensor([3.0, 0.5]) + 1
        score = 0.3 * x[:, :1] - 0.8 * x[:, 1:] + 1
        torch.manual_seed(0)
        y = Poisson(score.exp()).sample() if self.counts else (score + torch.randn(600, 1) > 2).long()[:, 0]
        return Splits(*(Rows(x[part], y[part]) for part in (slice(400), slice(400, 500), slice(500, 600))))


LBFGS = partial(torch.optim.LBFGS, max_iter=100, line_search_fn="strong_wolfe")


def fitted(model, data, optimizer=LBFGS, epochs=3):
    model.optimizer = optimizer
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "accelerator": "cpu"}
    Trainer(max_epochs=epochs, enable_model_summary=False, **quiet).fit(model, data)
    return model.eval()


@pytest.mark.parametrize(
    ("loss", "weight"),
    [(BALANCED, [1, 5]), (partial(nn.CrossEntropyLoss, ignore_index=1), [1, 0]), (nn.CrossEntropyLoss, [1, 1])],
    ids=["weights", "an ignored class", "plain"],
)
def test_a_loss_with_class_weights_over_uneven_batches_is_scikit_learns(loss, weight):
    model = Classification((2,), 2, loss=loss)
    logits, y = torch.randn(101, 2), torch.randint(2, (101,))
    for part in torch.arange(101).split(40):
        model.val_metrics.update(logits[part], y[part])
    expected = sk.log_loss(y, logits.double().softmax(1), sample_weight=np.array(weight)[y])
    assert model.val_metrics.compute()["loss"].item() == pytest.approx(expected)
    assert mean_loss(model.criterion, logits, y).item() == pytest.approx(expected, rel=1e-5)


def test_a_batch_without_a_row_that_counts_has_no_loss():
    ignoring = nn.CrossEntropyLoss(ignore_index=1)
    assert mean_loss(ignoring, torch.randn(3, 2), torch.ones(3, dtype=torch.long)) == 0
    model = Classification((2,), 2, loss=partial(nn.CrossEntropyLoss, ignore_index=1))
    model.val_metrics.update(torch.randn(3, 2), torch.ones(3, dtype=torch.long))
    model.val_metrics.update(logits := torch.randn(3, 2), y := torch.tensor([0, 1, 0]))
    assert model.val_metrics.compute()["loss"].item() == pytest.approx(ignoring(logits, y).item())


def test_class_weights_make_scikit_learns_logistic_regression_with_them():
    data = Made(counts=False)
    model = fitted(Classification((2,), 2, loss=BALANCED), data)
    train, test = data.splits.train, data.splits.test
    reference = LogisticRegression(C=1e9, class_weight={0: 1, 1: 5}, tol=1e-8, max_iter=1_000).fit(train.x, train.y)
    probabilities = model.predict_step(test.x, 0).detach()
    np.testing.assert_allclose(probabilities, reference.predict_proba(test.x.numpy()), atol=1e-3)


@pytest.mark.parametrize("standardize", [True, False])
def test_a_poisson_loss_makes_scikit_learns_poisson_regression(standardize):
    data = Made(counts=True)
    model = fitted(Regression((2,), 1, loss=nn.PoissonNLLLoss, standardize=standardize), data)
    train, test = data.splits.train, data.splits.test
    reference = PoissonRegressor(alpha=0, tol=1e-8, max_iter=1_000).fit(train.x, train.y[:, 0])
    rates = model(test.x).detach()
    np.testing.assert_allclose(rates[:, 0], reference.predict(test.x.numpy()), rtol=2e-3)
    model.test_metrics.update(rates, test.y)
    found = model.test_metrics.compute()
    assert found["mse"].item() == pytest.approx(sk.mean_squared_error(test.y, rates), rel=1e-5)
    assert found["loss"].item() == pytest.approx((rates - test.y * rates.log()).mean().item(), rel=1e-5)
    assert model.equation is None


def test_an_ensemble_of_rates_has_their_standard_deviation():
    net = partial(Ensemble, nets=[Linear], copies=3)
    model = Regression((2,), 1, loss=nn.PoissonNLLLoss, net=net)
    for value in model.net.net.stacked.values():
        nn.init.normal_(value)
    x = torch.randn(5, 2)
    each = model.net.net.each(x).exp()
    torch.testing.assert_close(model.net.spread(x), each.std(0, correction=0))
    torch.testing.assert_close(model(x), each.log().mean(0).exp())


@pytest.mark.parametrize(
    ("model", "loss", "told"),
    [
        (Regression, nn.KLDivLoss, "KLDivLoss: takes other targets than numbers; use MSELoss, L1Loss"),
        (Regression, nn.SoftMarginLoss, "SoftMarginLoss: takes other targets than numbers"),
        (Regression, nn.GaussianNLLLoss, "GaussianNLLLoss: takes other targets than numbers"),
        (Regression, nn.BCELoss, "BCELoss: is for classes"),
        (Regression, partial(nn.PoissonNLLLoss, log_input=False), "PoissonNLLLoss: log_input must be true"),
        (Regression, partial(nn.HuberLoss, reduction="sum"), "reduction must be mean"),
        (Classification, partial(nn.CrossEntropyLoss, weight=torch.ones(3)), "weight must be 2 numbers, one for each"),
        (Classification, partial(nn.MultiMarginLoss, weight=torch.ones(3)), "weight must be 2 numbers"),
        (Classification, nn.NLLLoss, "NLLLoss: does not take logits"),
    ],
)
def test_a_loss_that_cannot_work_is_refused_by_name(model, loss, told):
    with pytest.raises(UserError, match=told):
        model((2,), 2, loss=loss)


@pytest.mark.slow
def test_a_pinball_loss_makes_scikit_learns_quantile_regression():
    data = Made(counts=True)
    for rows in data.splits:
        rows.y.add_(torch.rand(len(rows), 1, generator=torch.Generator().manual_seed(0)))  # without ties
    falling = partial(ExponentialLR, gamma=0.97)
    model = Regression((2,), 1, loss=partial(PinballLoss, quantile=0.9), lr_scheduler=falling)
    fitted(model, data, partial(torch.optim.Adam, lr=0.1), epochs=150)
    train, test = data.splits.train, data.splits.test
    reference = QuantileRegressor(quantile=0.9, alpha=0).fit(train.x, train.y[:, 0]).predict(test.x.numpy())
    predicted = model(test.x).detach()
    np.testing.assert_allclose(predicted[:, 0], reference, atol=0.2)
    model.test_metrics.update(predicted, test.y)
    found = model.test_metrics.compute()
    assert found["loss"].item() == pytest.approx(sk.mean_pinball_loss(test.y, predicted, alpha=0.9), rel=1e-5)
    assert found["share_below"].item() == pytest.approx((test.y <= predicted).float().mean().item())


@pytest.mark.parametrize("standardize", [True, False])
def test_a_log_target_makes_least_squares_of_logarithms(standardize):
    data = Made(counts=True)
    data.splits.train.y.add_(1)
    data.splits.test.y.add_(1)
    model = fitted(Regression((2,), 1, log_target=True, standardize=standardize), data)
    train, test = data.splits.train, data.splits.test
    reference = LinearRegression().fit(train.x, train.y.log())
    np.testing.assert_allclose(model(test.x).detach(), np.exp(reference.predict(test.x.numpy())), rtol=1e-3)
    assert model.equation is None
    train.y[3] = 0
    with pytest.raises(UserError, match="log_target: targets must be above 0"):
        fitted(Regression((2,), 1, log_target=True, standardize=standardize), data)


def test_counts_below_zero_are_refused():
    model = Regression((2,), 1, loss=nn.PoissonNLLLoss)
    with pytest.raises(UserError, match="PoissonNLLLoss: targets must be counts, 0 or more"):
        model.check_targets(torch.zeros(2, 1), torch.tensor([[1.0], [-1.0]]))


@pytest.mark.parametrize(
    ("model", "loss"),
    [
        (Classification, BALANCED),
        (Classification, partial(nn.MultiMarginLoss, p=2, weight=torch.tensor([1.0, 0.1]))),
        (Classification, partial(nn.CrossEntropyLoss, label_smoothing=0.1)),
        (Regression, partial(nn.HuberLoss, delta=0.5)),
        (Regression, partial(nn.PoissonNLLLoss, full=True)),
    ],
)
def test_the_arguments_of_a_loss_are_plain_data_in_a_checkpoint(model, loss, tmp_path):
    built = model((2,), 2, loss=loss)
    data = {"state_dict": built.state_dict(), "hyper_parameters": dict(built.hparams)}
    torch.save(data | {"pytorch-lightning_version": "2.6.0"}, tmp_path / "model.ckpt")
    loaded = model.load_from_checkpoint(tmp_path / "model.ckpt", weights_only=True)
    assert not any("criterion" in name for name in built.state_dict())
    wanted, found = vars(built.criterion), vars(loaded.criterion)
    assert {n: v for n, v in wanted.items() if not n.startswith("_")} == {
        n: v for n, v in found.items() if not n.startswith("_")
    }
    weights = [getattr(each.criterion, "weight", None) for each in (built, loaded)]
    assert weights[0] is None or weights[0].equal(weights[1])
