"""Stop a training that diverges, before its weights are saved."""

from collections.abc import Mapping

import torch
from lightning.pytorch import LightningModule
from torch import Tensor

from project.runtime.errors import UserError

# A loss that is this many times the loss of the first step (or 1, if that is larger) does not recover.
MAX_GROWTH = 1e8


class LossWatch:
    """Check the loss of every step.

    Reading a loss from a GPU would make each step wait for it: there, losses are collected and read together at the end
    of a `training_step`.
    """

    def __init__(self, module: LightningModule) -> None:
        self.module = module
        self._losses: list[Tensor] = []
        self._limit: float | None = None

    def reset(self) -> None:
        """Reset the baseline loss."""
        self._losses.clear()
        self._limit = None

    def check(self, loss: Tensor, batch: int, wait: bool = False) -> None:
        """Raise a UserError if the loss of a batch is not finite, or has grown by more than `MAX_GROWTH`.

        `batch` is counted from 1 within the epoch; with `wait`, all losses collected so far are checked.
        """
        if loss.device.type == "cpu":
            values = [loss.item()]
        else:
            self._losses.append(loss.detach())
            if not wait:
                return
            values = torch.stack(self._losses).tolist()
            self._losses.clear()
        if self._limit is None:
            self._limit = MAX_GROWTH * max(1.0, abs(values[0]))
        for number, value in enumerate(values, start=batch - len(values) + 1):
            if not value <= self._limit:  # true for NaN
                raise _divergence_error(self.module, "the loss", value, f", batch {number}")


def require_finite(module: LightningModule, values: Mapping[str, Tensor]) -> None:
    """Raise a UserError if one of the values of a model, such as its weights, is not finite."""
    for name, value in values.items():
        if not value.isfinite().all():
            raise _divergence_error(module, name, value[~value.isfinite()][0].item())


def _divergence_error(module: LightningModule, name: str, value: float, batch: str = "") -> UserError:
    rate = module.trainer.optimizers[0].param_groups[0].get("lr") if module.trainer.optimizers else None
    scaling = "" if getattr(module, "standardize", True) else ", or standardise with --model.standardize true"
    return UserError(
        f"--optimizer.lr {rate}: training diverges, {name} is {value:g} in epoch {module.current_epoch + 1}{batch}; "
        f"lower the learning rate, or clip gradients with --trainer.gradient_clip_val{scaling}"
    )
