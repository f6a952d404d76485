import pytest
import torch
from lightning.pytorch import Trainer
from sklearn import metrics as sk
from torch import nn

from project.data import SyntheticDataModule
from project.models import Regression
from project.runtime.errors import UserError


@pytest.mark.parametrize(("outputs", "offset"), [(1, 0.0), (3, 0.0), (2, 1e5)])
def test_metrics_over_uneven_batches_equal_scikit_learns(outputs, offset):
    y = torch.randn(101, outputs, dtype=torch.float64) + offset
    prediction = y + torch.randn_like(y)
    metrics = Regression((1,), outputs, loss=lambda: nn.HuberLoss(delta=0.5)).val_metrics
    for part in torch.arange(101).split(40):
        metrics.update(prediction[part], y[part])
    found = {name: value.item() for name, value in metrics.compute().items()}
    assert found["mse"] == pytest.approx(sk.mean_squared_error(y, prediction))
    assert found["rmse"] == pytest.approx(sk.mean_squared_error(y, prediction) ** 0.5)
    assert found["mae"] == pytest.approx(sk.mean_absolute_error(y, prediction))
    assert found["r2"] == pytest.approx(sk.r2_score(y, prediction), rel=1e-9)
    assert found["loss"] == pytest.approx(nn.functional.huber_loss(prediction, y, delta=0.5).item())


def fitted(model: Regression, data: SyntheticDataModule, **options) -> Regression:
    model.configure_optimizers = lambda: torch.optim.SGD(model.parameters(), lr=0.1)
    Trainer(
        accelerator="cpu", logger=False, enable_checkpointing=False, max_epochs=5, enable_progress_bar=False, **options
    ).fit(model, data)
    return model


def test_equation_predicts_what_the_model_predicts():
    data = SyntheticDataModule(features=3, outputs=2, weight=[1, 2, 3, 4, 5, 6], bias=[100.0, -5.0])
    model = fitted(Regression(data.in_shape, data.out_features), data)
    x = data.splits.test.x
    weights, bias = model.equation
    torch.testing.assert_close(model(x).double(), x.double() @ weights + bias, rtol=1e-5, atol=1e-4)


def test_penalty_is_on_weights_in_standard_units_and_never_on_the_bias():
    model = Regression((2,), 1, l1=0.5, l2=0.25)
    model.net.net.linear.weight.data = torch.tensor([[3.0, -4.0]])
    model.net.net.linear.bias.data = torch.tensor([100.0])
    assert model.penalty().item() == pytest.approx(0.5 * 7 + 0.25 * 25)


def test_l2_reaches_scikit_learns_ridge():
    from sklearn.linear_model import Ridge

    data = SyntheticDataModule(features=3, batch_size=100)
    model = Regression(data.in_shape, data.out_features, l2=0.3)
    model.configure_optimizers = lambda: torch.optim.SGD(model.parameters(), lr=0.2)
    Trainer(accelerator="cpu", logger=False, enable_checkpointing=False, max_epochs=100, enable_progress_bar=False).fit(
        model, data
    )
    x, y = data.splits.train.x, data.splits.train.y
    standard = [(part - part.mean(0)) / part.std(0, correction=0) for part in (x, y)]
    ridge = Ridge(alpha=0.3 * len(x)).fit(*(part.numpy() for part in standard))
    torch.testing.assert_close(
        model.net.net.linear.weight.detach(), torch.tensor(ridge.coef_).view(1, -1), atol=1e-4, rtol=0
    )


def test_targets_that_would_broadcast_are_an_error_that_names_both_shapes():
    class Flat(SyntheticDataModule):
        def load(self):
            splits = super().load()
            for rows in splits:
                rows.y = rows.y[:, 0]
            return splits

        out_features = 1

    data = Flat()
    model = Regression((1,), 1, standardize=False)
    with pytest.raises(ValueError, match=r"\(20,\).*\(20, 1\)"):
        fitted(model, data, num_sanity_val_steps=0)


def test_a_loss_that_sums_is_refused():
    with pytest.raises(UserError, match="reduction must be mean"):
        Regression((1,), 1, loss=lambda: nn.MSELoss(reduction="sum"))


def test_standardisation_without_statistics_is_an_error():
    data = SyntheticDataModule()
    model = Regression((1,), 1)
    model.configure_optimizers = lambda: torch.optim.SGD(model.parameters(), lr=0.1)
    with pytest.raises(UserError, match="--model.standardize: .*; set it to false"):
        Trainer(logger=False, enable_checkpointing=False, enable_progress_bar=False).fit(model, data.train_dataloader())
