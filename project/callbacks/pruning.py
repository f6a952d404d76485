"""Weights that are zero: more of them with each epoch, until there are as many as wanted."""

from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import EarlyStopping, StochasticWeightAveraging, WeightAveraging
from torch import Tensor, nn
from torch.nn.utils.prune import L1Unstructured

from project.callbacks.best_checkpoint import BestCheckpoint
from project.models.supervised import Supervised
from project.nets.ensemble import Ensemble
from project.nets.lora import LoRA, matrices
from project.nets.net import Net
from project.runtime.errors import UserError


class Pruning(Callback):
    """Sets the smallest weights of a net to zero, over all its weight matrices together, and keeps them there.

    Which ones is settled at the start of each epoch, and holds after each optimizer step. There are no masks in
    checkpoints: weights are as of any net, and some of them exact zeros.

    Source: Zhu & Gupta, "To prune, or not to prune" (2017), with its cubic schedule.

    Args:
        sparsity: Part of the weights that is zero in the end; 0 prunes nothing.
        epochs: How many epochs it takes to get there; half of all unless given.

    Raises:
        UserError: If a number is out of range.
    """

    def __init__(self, sparsity: float = 0.0, epochs: int | None = None) -> None:
        if not 0 <= sparsity < 1:
            raise UserError(f"--pruning.sparsity is {sparsity}: give a number above 0 and below 1")
        if epochs is not None and epochs < 1:
            raise UserError(f"--pruning.epochs is {epochs}: give 1 or more")
        if epochs is not None and not sparsity:
            raise UserError("--pruning.epochs: nothing is pruned: give --pruning.sparsity")
        self.sparsity, self.epochs = sparsity, epochs
        self._start: float | None = None
        self._pruned: list[tuple[nn.Parameter, Tensor]] = []  # weights, and which of them are zero

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Refuse what does not go together; prune at once where weights are taken over and not trained."""
        if not self.sparsity or not isinstance(pl_module, Supervised):
            return
        require_prunable(pl_module.net.net, self.sparsity)
        for callback in trainer.callbacks:  # type: ignore[attr-defined]
            if isinstance(callback, WeightAveraging | StochasticWeightAveraging):
                name = type(callback).__name__
                raise UserError(
                    f"--trainer.callbacks {name}: averages do not become zero: give --trainer.callbacks null"
                )
        if trainer.max_epochs == 0:
            self._prune(pl_module.net.net, self.sparsity)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Have zeros stay after each step, in an epoch that is resumed, too."""
        if not self.sparsity or not isinstance(pl_module, Supervised):
            return
        net = pl_module.net.net
        if self._start is None:
            zero, count = zeros(net)
            self._start = zero / count if zero / count <= self.sparsity else 0.0  # some nets start with nothing else
            limit = max(trainer.max_epochs or 1, 1)
            self.epochs = min(self.epochs or max(limit // 2, 1), limit)
        self._prune(net, self._scheduled(trainer.current_epoch))
        for optimizer in trainer.optimizers:
            optimizer.register_step_post_hook(lambda *_: self._fill())

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Prune what is due; the scores of a net that was pruned less are none to be beaten."""
        if not self._pruned or not isinstance(pl_module, Supervised):
            return
        before, now = (self._scheduled(trainer.current_epoch - back) for back in (1, 0))
        self._prune(pl_module.net.net, now)
        for callback in trainer.callbacks if now > before else ():  # type: ignore[attr-defined]
            if isinstance(callback, BestCheckpoint) and (path := callback.best_model_path):
                callback.best_k_models, callback.best_model_path = {}, ""
                trainer.strategy.remove_checkpoint(path)
            elif isinstance(callback, EarlyStopping):
                callback.best_score = torch.tensor(torch.inf if callback.mode == "min" else -torch.inf)

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Raise a UserError where training has ended before the net was as sparse as wanted."""
        if not self._pruned or not isinstance(pl_module, Supervised):
            return
        zero, count = zeros(pl_module.net.net)
        if zero < round(self.sparsity * count):
            raise UserError(
                f"--pruning.sparsity {self.sparsity}: training ended at {zero / count:.3f}, before its "
                f"{self.epochs} epochs were over: train longer, or give fewer --pruning.epochs"
            )

    def state_dict(self) -> dict[str, Any]:
        """Where the schedule began, and how long it is."""
        return {"start": self._start, "epochs": self.epochs}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on with the schedule."""
        self._start, self.epochs = state_dict["start"], state_dict["epochs"]

    def _scheduled(self, epoch: int) -> float:
        """The sparsity of an epoch."""
        start, left = self._start or 0.0, max(1 - (epoch + 1) / (self.epochs or 1), 0.0)
        return self.sparsity + (start - self.sparsity) * left**3

    @torch.no_grad()
    def _prune(self, net: Net, sparsity: float) -> None:
        weights = [net.get_parameter(name) for name in matrices(net)]
        flat = torch.cat([weight.flatten() for weight in weights])
        mask = L1Unstructured(round(sparsity * len(flat))).compute_mask(flat, torch.ones_like(flat))
        parts = mask.split([weight.numel() for weight in weights])
        self._pruned = [(weight, part.view_as(weight) == 0) for weight, part in zip(weights, parts, strict=True)]
        self._fill()

    @torch.no_grad()
    def _fill(self) -> None:
        for weight, zero in self._pruned:
            weight.masked_fill_(zero, 0)


def zeros(net: Net) -> tuple[int, int]:
    """How many of a net's weights are zero, and how many it has, biases and norms apart."""
    weights = [net.get_parameter(name) for name in matrices(net)]
    count = sum(weight.numel() for weight in weights)
    return count - sum(int(weight.count_nonzero()) for weight in weights), count


def require_prunable(net: Net, sparsity: float) -> None:
    """Raise a UserError unless a net has weights to be zero, and others that are left."""
    name, count = type(net).__name__, sum(net.get_parameter(name).numel() for name in matrices(net))
    if isinstance(net, LoRA):
        raise UserError("sparsity: adapters fill what is zero: train without LoRA")
    if not count:
        mend = ": give --model.net.vectorize false" if isinstance(net, Ensemble) else ""
        raise UserError(f"sparsity: {name} has no linear, convolutional or recurrent layer to prune{mend}")
    if not 0 < round(sparsity * count) < count:
        raise UserError(
            f"sparsity {sparsity}: of the {count} weights of {name}, that is all or none: give another part"
        )
