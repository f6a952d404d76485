from types import SimpleNamespace

import pytest
import torch
from lightning.pytorch import Callback

from project.callbacks import BestCheckpoint
from project.runtime.errors import UserError
from tests.callbacks.fitting import fit

MODULE = "project.callbacks.best_checkpoint.read_checkpoint"


class Scores(Callback):
    """Logs a given score at the end of each epoch."""

    def __init__(self, *scores):
        self.scores = scores

    def on_train_epoch_end(self, trainer, pl_module):
        pl_module.log("score", self.scores[trainer.current_epoch])


def resumed(folder, step, score=1.0):
    """A callback whose run goes on at a step, in a folder that was moved."""
    best = BestCheckpoint("score")
    best.dirpath = str(folder)
    best.on_load_checkpoint(SimpleNamespace(), SimpleNamespace(), {"global_step": step})
    old = {"dirpath": "/old", "best_model_path": "/old/best.ckpt", "best_model_score": torch.tensor(score)}
    best.load_state_dict(old | {"monitor": "score"})
    return best


def test_the_file_is_of_the_epoch_with_the_lowest_score(tmp_path):
    best = BestCheckpoint("score")
    best.dirpath = str(tmp_path)
    fit(Scores(3.0, 1.0, 2.0), best, enable_checkpointing=True)
    assert [path.name for path in tmp_path.iterdir()] == ["best.ckpt"]
    assert torch.load(tmp_path / "best.ckpt", weights_only=True)["global_step"] == 2 * 6


def test_the_score_is_kept_when_the_folder_has_moved(tmp_path, monkeypatch):
    (tmp_path / "best.ckpt").touch()
    monkeypatch.setattr(MODULE, lambda path: {"global_step": 6})
    best = resumed(tmp_path, step=12)
    assert (best.best_model_score, best.best_model_path) == (1.0, str(tmp_path / "best.ckpt"))
    assert best.best_k_models == {str(tmp_path / "best.ckpt"): torch.tensor(1.0)}


def test_a_file_of_later_steps_or_no_file_gives_no_score(tmp_path, monkeypatch):
    monkeypatch.setattr(MODULE, lambda path: {"global_step": 18})
    assert resumed(tmp_path, step=12).best_model_score is None
    (tmp_path / "best.ckpt").touch()
    assert resumed(tmp_path, step=12).best_model_score is None
    assert resumed(tmp_path, step=18).best_model_score == 1.0


def test_a_damaged_file_is_skipped_with_a_warning(tmp_path, monkeypatch):
    def damaged(path):
        raise UserError(f"{path}: damaged")

    (tmp_path / "best.ckpt").touch()
    monkeypatch.setattr(MODULE, damaged)
    with pytest.warns(UserWarning, match="skipped: .*best.ckpt: damaged"):
        assert resumed(tmp_path, step=12).best_model_score is None


def test_epochs_without_validation_are_not_judged_by_another_metric(tmp_path):
    best = BestCheckpoint("val/loss")
    best.dirpath = str(tmp_path)
    fit(best, enable_checkpointing=True, max_epochs=4, check_val_every_n_epoch=2)
    assert best.monitor == "val/loss"
    assert torch.load(tmp_path / "best.ckpt", weights_only=True)["global_step"] in (2 * 6, 4 * 6)


@pytest.mark.parametrize(("score", "step"), [(0.5, 18), (2.0, 12)])
def test_steps_after_the_last_epoch_are_kept_if_they_are_better(tmp_path, score, step):
    best = BestCheckpoint("score")
    best.dirpath = str(tmp_path)
    trainer = fit(Scores(3.0, 1.0, 2.0), best, enable_checkpointing=True)
    assert best.keep_last_steps(trainer, {"score": torch.tensor(score)})
    assert torch.load(tmp_path / "best.ckpt", weights_only=True)["global_step"] == step
    assert not best.keep_last_steps(trainer, {"another": torch.tensor(score)})
