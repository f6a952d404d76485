import pytest
import torch
from lightning.pytorch import Callback

from project.callbacks import EpochSeed, ExactResume
from tests.callbacks.fitting import fit, small_data, small_mlp


class SaveAt(Callback):
    """Saves a checkpoint in a hook, at the start or at the end of a batch."""

    def __init__(self, path, hook, epoch, batch):
        self.path, self.place = path, (hook, epoch, batch)

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        self.save("start", trainer, batch_idx)

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        self.save("end", trainer, batch_idx)

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
