import pytest
import torch
from lightning.pytorch import Callback
from lightning.pytorch.callbacks import EarlyStopping
from torch import nn

from project.callbacks import EpochSeed, ExactResume, Finetuning
from project.models import Regression
from project.nets.net import Net
from tests.callbacks.fitting import fit, small_data, small_mlp


class SaveAt(Callback):
    """Saves a checkpoint in a hook, at the start or at the end of a batch."""

    def __init__(self, path, hook, epoch, batch):
        self.path, self.place = path, (hook, epoch, batch)

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        self.save("start", trainer, batch_idx)

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        self.save("end", trainer, batch_idx)

    def on_validation_end(self, trainer, pl_module):
        self.save("validation", trainer, trainer.fit_loop.batch_idx)

    def save(self, hook, trainer, batch_idx):
        if (hook, trainer.current_epoch, batch_idx) == self.place:
            trainer.save_checkpoint(self.path)


def train(*callbacks, changes=(), ckpt_path=None):
    data = small_data()
    model = small_mlp(data, dropout=0.5)
    trainer = fit(ExactResume(dict(changes)), EpochSeed(0), *callbacks, model=model, data=data, ckpt_path=ckpt_path)
    return trainer, model


@pytest.mark.parametrize("place", [("start", 1, 0), ("start", 1, 4), ("end", 1, 2)])
def test_a_resumed_run_with_dropout_ends_as_the_uninterrupted_one(tmp_path, place):
    path = tmp_path / "saved.ckpt"
    whole, expected = train(SaveAt(path, *place))
    torch.manual_seed(99)
    resumed, model = train(SaveAt(path, "never", 0, 0), ckpt_path=path)
    assert resumed.global_step == whole.global_step == 18
    assert all(a.equal(b) for a, b in zip(model.parameters(), expected.parameters(), strict=True))
    assert resumed.callback_metrics["train/loss"] == whole.callback_metrics["train/loss"]


def test_metrics_of_a_finished_run_are_there_again(tmp_path):
    whole, _ = train()
    whole.save_checkpoint(tmp_path / "end.ckpt")
    resumed, _ = train(ckpt_path=tmp_path / "end.ckpt")
    assert resumed.callback_metrics["val/loss"] == whole.callback_metrics["val/loss"]


def test_a_changed_learning_rate_replaces_the_saved_one(tmp_path):
    path = tmp_path / "saved.ckpt"
    train(SaveAt(path, "start", 1, 0))
    resumed, _ = train(changes={"lr": 0.025}, ckpt_path=path)
    [group] = resumed.optimizers[0].param_groups
    assert (group["lr"], group["initial_lr"]) == (0.025, 0.025)


class Normed(Net):
    """A norm of a given kind between two layers."""

    def __init__(self, in_shape, out_features, norm):
        super().__init__(in_shape, out_features)
        self.first, self.norm, self.head = nn.Linear(in_shape[0], 4), norm(4), nn.Linear(4, out_features)

    def forward(self, x):
        return self.head(self.norm(self.first(x).unsqueeze(2)).squeeze(2))


class InEpoch(Callback):
    """Does something to the net at the start of one epoch, and perhaps of the training."""

    def __init__(self, epoch, change, at_start=None):
        self.epoch, self.change, self.at_start = epoch, change, at_start

    def on_train_start(self, trainer, pl_module):
        if self.at_start:
            self.at_start(pl_module.net.net)

    def on_train_epoch_start(self, trainer, pl_module):
        if trainer.current_epoch == self.epoch:
            self.change(pl_module.net.net)


CHANGES = {
    "a norm is frozen": lambda: InEpoch(1, lambda net: net.norm.eval()),
    "a layer is frozen": lambda: InEpoch(1, lambda net: net.first.requires_grad_(False)),
    "a norm thaws": lambda: InEpoch(1, lambda net: net.norm.train(), at_start=lambda net: net.norm.eval()),
    "layers thaw one by one": lambda: Finetuning(["backbone"], unfreeze_every=1),
}
NORMS = {
    "batch norm": nn.BatchNorm1d,
    "batch norm without weights": lambda size: nn.BatchNorm1d(size, affine=False),
    "group norm": lambda size: nn.GroupNorm(1, size),
}


def train_normed(norm, *callbacks, ckpt_path=None, **options):
    data = small_data()
    torch.manual_seed(0)
    model = Regression(data.in_shape, data.out_features, net=lambda *shape: Normed(*shape, norm))
    fit(ExactResume({}), EpochSeed(0), *callbacks, model=model, data=data, ckpt_path=ckpt_path, **options)
    return {name: value.clone() for name, value in model.state_dict().items()}


@pytest.mark.parametrize("place", [("start", 1, 3), ("start", 2, 0)])
@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("norm", NORMS)
def test_what_is_trained_and_how_is_part_of_a_checkpoint(tmp_path, norm, change, place):
    path = tmp_path / "saved.ckpt"
    whole = train_normed(NORMS[norm], CHANGES[change](), SaveAt(path, *place))
    resumed = train_normed(NORMS[norm], CHANGES[change](), ckpt_path=path)
    assert all(value.equal(resumed[name]) for name, value in whole.items())


def test_modes_in_a_checkpoint_that_is_saved_after_a_validation_are_those_of_training(tmp_path):
    path = tmp_path / "saved.ckpt"
    train_normed(nn.BatchNorm1d, CHANGES["a norm is frozen"](), SaveAt(path, "validation", 1, 5))
    saved = torch.load(path, weights_only=True)["exact_resume"]["modes"]["evaluating"]
    assert saved == ["net.net.norm"]


def test_a_batch_norm_tracks_statistics_once_its_layer_is_trained(tmp_path):
    tracked = {}
    for epochs in (1, 3):
        state = train_normed(nn.BatchNorm1d, Finetuning(["backbone"], unfreeze_every=1), max_epochs=epochs)
        tracked[epochs] = int(state["net.net.norm.num_batches_tracked"])
    assert tracked == {1: 0, 3: 2 * 6}


def test_weights_in_float64_are_not_rounded_when_they_are_resumed(tmp_path):
    path = tmp_path / "saved.ckpt"
    whole = train_normed(nn.BatchNorm1d, SaveAt(path, "start", 1, 2), precision="64-true")
    resumed = train_normed(nn.BatchNorm1d, ckpt_path=path, precision="64-true")
    assert whole["net.net.head.weight"].dtype == torch.float64
    assert all(value.equal(resumed[name]) for name, value in whole.items())


class Worse(Callback):
    """Logs a score that is worse in the second epoch than in all others."""

    def on_train_epoch_end(self, trainer, pl_module):
        pl_module.log("score", float(trainer.current_epoch == 1) - trainer.current_epoch / 100)


class Epochs(Callback):
    def on_train_end(self, trainer, pl_module):
        self.count = trainer.fit_loop.epoch_progress.current.processed


@pytest.mark.parametrize(("min_epochs", "saved"), [(4, 2), (6, 5), (1, 1)])
def test_early_stopping_that_waits_for_min_epochs_still_stops_when_resumed(tmp_path, min_epochs, saved):
    def stopped(*callbacks, ckpt_path=None):
        stopping = EarlyStopping("score", patience=1, check_on_train_epoch_end=True)  # decides after the second epoch
        options = {"max_epochs": 8, "min_epochs": min_epochs, "ckpt_path": ckpt_path}
        train_normed(nn.BatchNorm1d, Worse(), stopping, epochs := Epochs(), *callbacks, **options)
        return epochs.count

    path = tmp_path / "saved.ckpt"
    whole = stopped(SaveAt(path, "start", saved, 3))
    assert whole == max(min_epochs, 2)
    assert stopped(ckpt_path=path) == whole
