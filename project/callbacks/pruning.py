"""Set the smallest weights to zero, more of them each epoch, until the net has the required sparsity."""

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
from project.runtime.ranges import PositiveInt, RightOpenUnitInterval


class Pruning(Callback):
    """Set the smallest weights of a net to zero, over all its weight matrices together, and keep them at zero.

    The set of pruned weights is chosen at the start of each epoch and applied after each optimizer step. Checkpoints
    contain no masks: the weights have the same names and shapes as those of any net, and some are exactly zero.

    Source: Zhu & Gupta, "To prune, or not to prune" (2017), with its cubic schedule.

    Args:
        sparsity: Fraction of the weights that is zero at the end; 0 turns pruning off.
        epochs: Number of epochs until the sparsity is reached; by default half of `max_epochs`.
    """

    def __init__(self, sparsity: RightOpenUnitInterval = 0.0, epochs: PositiveInt | None = None) -> None:
        if epochs is not None and not sparsity:
            raise UserError("--pruning.epochs: has no effect without --pruning.sparsity; set that, too")
        self.sparsity, self.epochs = sparsity, epochs
        self._start: float | None = None  # sparsity before the first epoch
        self._pruned: list[tuple[nn.Parameter, Tensor]] = []  # each weight matrix with the mask of its zeros

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Refuse nets and callbacks that cannot be pruned; without any epochs to train, prune at once."""
        if not self.sparsity or not isinstance(pl_module, Supervised):
            return
        require_prunable(pl_module.net.net, self.sparsity)
        for callback in trainer.callbacks:  # type: ignore[attr-defined]
            if isinstance(callback, WeightAveraging | StochasticWeightAveraging):
                flag = f"--trainer.callbacks {type(callback).__name__}"
                raise UserError(f"{flag}: averaged weights are not zero; set --trainer.callbacks null")
        if trainer.max_epochs == 0:
            self._prune(pl_module.net.net, self.sparsity)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Set pruned weights to zero again after each optimizer step, including those of a resumed epoch."""
        if not self.sparsity or not isinstance(pl_module, Supervised):
            return
        net = pl_module.net.net
        if self._start is None:
            zeros, count = count_zeros(net)
            self._start = zeros / count if zeros / count <= self.sparsity else 0.0  # Linear starts with zeros only
            limit = max(trainer.max_epochs or 1, 1)
            self.epochs = min(self.epochs or max(limit // 2, 1), limit)
        self._prune(net, self._scheduled(trainer.current_epoch))
        for optimizer in trainer.optimizers:
            optimizer.register_step_post_hook(lambda *_: self._apply_masks())

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Prune to the sparsity of this epoch; reset the best scores, which belong to a less sparse net."""
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
        """Raise a UserError if training ended before the net reached its sparsity."""
        if not self._pruned or not isinstance(pl_module, Supervised):
            return
        zeros, count = count_zeros(pl_module.net.net)
        if zeros < round(self.sparsity * count):
            raise UserError(
                f"--pruning.sparsity {self.sparsity}: training ended at a sparsity of {zeros / count:.3f}, before "
                f"epoch {self.epochs}; train longer, or reduce --pruning.epochs"
            )

    def state_dict(self) -> dict[str, Any]:
        """Return the start and the length of the schedule."""
        return {"start": self._start, "epochs": self.epochs}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue the schedule."""
        self._start, self.epochs = state_dict["start"], state_dict["epochs"]

    def _scheduled(self, epoch: int) -> float:
        start, left = self._start or 0.0, max(1 - (epoch + 1) / (self.epochs or 1), 0.0)
        return self.sparsity + (start - self.sparsity) * left**3

    @torch.no_grad()
    def _prune(self, net: Net, sparsity: float) -> None:
        weights = weight_matrices(net)
        flat = torch.cat([weight.flatten() for weight in weights])
        mask = L1Unstructured(round(sparsity * len(flat))).compute_mask(flat, torch.ones_like(flat))
        parts = mask.split([weight.numel() for weight in weights])
        self._pruned = [(weight, part.view_as(weight) == 0) for weight, part in zip(weights, parts, strict=True)]
        self._apply_masks()

    @torch.no_grad()
    def _apply_masks(self) -> None:
        for weight, mask in self._pruned:
            weight.masked_fill_(mask, 0)


def weight_matrices(net: Net) -> list[nn.Parameter]:
    """Return the weights that can be pruned: all but biases and norms."""
    return [net.get_parameter(name) for name in matrices(net)]


def count_zeros(net: Net) -> tuple[int, int]:
    """Return how many of the prunable weights are zero, and how many there are."""
    weights = weight_matrices(net)
    count = sum(weight.numel() for weight in weights)
    return count - sum(int(weight.count_nonzero()) for weight in weights), count


def require_prunable(net: Net, sparsity: float) -> None:
    """Raise a UserError unless pruning a net leaves some of its weights at zero and others not."""
    count = sum(weight.numel() for weight in weight_matrices(net))
    pruned = round(sparsity * count)
    problem = None
    if isinstance(net, LoRA):
        problem = "LoRA adapters would make pruned weights nonzero again; train without LoRA"
    elif not 0 < pruned < count:
        hint = "another sparsity" if count or not isinstance(net, Ensemble) else "--model.net.vectorize false"
        layers = f"linear, convolutional and recurrent layers of {type(net).__name__}"
        problem = f"prunes {pruned} of the {count} weights that the {layers} have; use {hint}"
    if problem is not None:
        raise UserError(f"sparsity {sparsity}: {problem}")
