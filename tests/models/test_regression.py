from functools import partial
from pathlib import Path

import pytest
import torch
from lightning.pytorch import Trainer
from sklearn import metrics as sk
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from project.data import SyntheticDataModule
from project.models import Regression
from project.models.losses import mean_loss
from project.models.objective import penalty
from project.nets import MLP
from project.runtime.errors import UserError

QUIET = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "enable_model_summary": False}


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
    model.optimizer = partial(torch.optim.SGD, lr=0.1)
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
    assert penalty(model.net, model.l1, model.l2).item() == pytest.approx(0.5 * 7 + 0.25 * 25)


def test_l2_reaches_scikit_learns_ridge():
    from sklearn.linear_model import Ridge

    data = SyntheticDataModule(features=3, batch_size=100)
    model = Regression(data.in_shape, data.out_features, l2=0.3)
    model.optimizer = partial(torch.optim.SGD, lr=0.2)
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


def test_a_plain_loader_gives_the_statistics_of_its_rows():
    x, y = torch.randn(50, 2, dtype=torch.float64) * 5 + 100, torch.randn(50, 1, dtype=torch.float64)
    loader = DataLoader(TensorDataset(x.float(), y.float()), batch_size=8, shuffle=True)
    model = Regression((2,), 1)
    torch.manual_seed(0)
    Trainer(max_epochs=1, **QUIET).fit(model, loader)
    torch.testing.assert_close(model.net.features.mean, x.float().double().mean(0).float())
    torch.testing.assert_close(model.net.features.std, x.float().double().std(0, correction=0).float())
    torch.testing.assert_close(model.net.targets.std, y.float().double().std(0, correction=0).float())


@pytest.mark.parametrize(
    "net", [MLP, partial(MLP, hidden=[4]), nn.Linear, partial(nn.Linear, bias=False), nn.Sequential(nn.Linear(2, 1))]
)
def test_a_plain_trainer_trains_saves_and_loads(folder, net):
    options = {"net": net, "optimizer": partial(torch.optim.Adam, lr=0.1), "lr_interval": "step"}
    options["lr_scheduler"] = partial(torch.optim.lr_scheduler.StepLR, step_size=3)
    model, data = Regression((2,), 1, **options), SyntheticDataModule(features=2, batch_size=10)
    trainer = Trainer(max_epochs=2, **QUIET | {"enable_checkpointing": True})
    trainer.fit(model, data)
    assert trainer.optimizers[0].param_groups[0]["lr"] == pytest.approx(0.1**7), "one step in three of 20"
    again = {"net": net} if isinstance(net, nn.Module) else {}
    loaded = Regression.load_from_checkpoint(trainer.checkpoint_callback.best_model_path, **again)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), loaded.parameters(), strict=True))
    assert isinstance(loaded.configure_optimizers()["optimizer"], torch.optim.Adam)
    assert (
        trainer.test(loaded, data, verbose=False)[0]["test/mse"]
        == trainer.test(model, data, verbose=False)[0]["test/mse"]
    )
    assert torch.cat(trainer.predict(loaded, data)).shape == (len(data.splits.test), 1)


def test_hyperparameters_name_no_class_that_is_not_imported(folder):
    trainer = Trainer(max_epochs=1, **QUIET | {"enable_checkpointing": True})
    trainer.fit(Regression((1,), 1), SyntheticDataModule())
    path = Path(trainer.checkpoint_callback.best_model_path)
    checkpoint = torch.load(path, weights_only=True)
    checkpoint["hyper_parameters"]["net"] = {"class_path": "os.system"}
    torch.save(checkpoint, path)
    with pytest.raises(UserError, match=r"os\.system is not an imported class"):
        Regression.load_from_checkpoint(path)


def test_a_subclass_with_a_training_step_of_its_own_needs_no_metrics(folder):
    class Own(Regression):
        def training_step(self, batch, batch_idx):
            x, y = batch
            return nn.functional.l1_loss(self(x), y)

    trainer = Trainer(max_epochs=2, num_sanity_val_steps=0, **QUIET)
    trainer.fit(Own((1,), 1), SyntheticDataModule())
    assert "train/loss" not in trainer.callback_metrics
    assert trainer.callback_metrics["val/loss"].isfinite()


def test_row_weights_apply_to_losses_with_one_number_a_row_and_to_those_with_several():
    weights, targets = torch.tensor([2.0, 0.0, 1.0]), torch.tensor([0, 1, 2])
    logits = torch.randn(3, 3, dtype=torch.float64)
    by_row = torch.stack([nn.functional.cross_entropy(logits[k : k + 1], targets[k : k + 1]) for k in range(3)])
    found = mean_loss(nn.CrossEntropyLoss(), logits, targets, weights[:, None])
    torch.testing.assert_close(found, (by_row * weights).mean())
    y = torch.randn(3, 3, dtype=torch.float64)
    found = mean_loss(nn.MSELoss(), logits, y, weights[:, None])
    torch.testing.assert_close(found, ((logits - y).square().mean(1) * weights).mean())
