"""Detection of diverging training, before the weights are saved."""

import statistics
import sys
from collections.abc import Mapping

import torch
from lightning.pytorch import LightningModule
from torch import Tensor

from project.runtime.errors import UserError

MAX_PENDING = 64
# Training has diverged if the loss exceeds this many times the loss of the first step (or 1, if that is larger).
MAX_GROWTH = 1e8
# It has also diverged if the median loss grows over this many windows of steps, to this many times that of the first.
WINDOW, WINDOWS, MAX_DRIFT = 8, 3, 10.0


class LossWatch:
    """Checks the loss of every step.

    Reading a loss from a GPU makes the CPU wait. On a GPU, losses are therefore collected and read together after
    `MAX_PENDING` steps, before a validation, at the end of an epoch and before a checkpoint is saved.
    """

    def __init__(self, module: LightningModule) -> None:
        self.module = module
        self._pending: list[tuple[Tensor, int]] = []
        self._baseline: float | None = None
        self._window: list[float] = []  # losses of the last steps
        self._medians: list[float] = []  # of the previous windows

    def reset(self) -> None:
        """Reset the baseline loss."""
        for losses in (self._pending, self._window, self._medians):
            losses.clear()
        self._baseline = None

    def check(self, loss: Tensor, batch: int) -> None:
        """Check the loss of a batch, numbered from 1 within the epoch.

        Raises:
            UserError: If it is not finite, has grown by `MAX_GROWTH`, or grows steadily. On a GPU, the error may be
                raised up to `MAX_PENDING` steps later.
        """
        if loss.device.type == "cpu":
            self._require_bounded(loss.item(), batch)
            return
        self._pending.append((loss.detach(), batch))
        if len(self._pending) >= MAX_PENDING:
            self.flush()

    def flush(self) -> None:
        """Check the collected losses, like `check`."""
        if self._pending:
            losses, batches = zip(*self._pending, strict=True)
            self._pending.clear()
            for value, batch in zip(torch.stack(losses).tolist(), batches, strict=True):
                self._require_bounded(value, batch)

    def _require_bounded(self, value: float, batch: int) -> None:
        if self._baseline is None:
            self._baseline = max(1.0, abs(value))
        limit = min(MAX_GROWTH * self._baseline, sys.float_info.max)  # infinity is above it
        if not value <= limit:  # also true for NaN
            raise _divergence_error(self.module, "the loss", value, f", batch {batch}")
        self._window.append(value)
        if len(self._window) < WINDOW:
            return
        # Medians, because a single batch may have an outlier.
        self._medians = [*self._medians[1 - WINDOWS :], median := statistics.median(self._window)]
        self._window.clear()
        rises = len(self._medians) == WINDOWS and self._medians == sorted(set(self._medians))
        if rises and median > MAX_DRIFT * self._baseline:
            raise _divergence_error(self.module, "the loss of most steps", median, f", batch {batch}")


def require_finite(module: LightningModule, values: Mapping[str, Tensor]) -> None:
    """Check values of a model, such as its weights.

    Raises:
        UserError: If one of them is not finite. The error names it.
    """
    finite = {name: value.isfinite().all() for name, value in values.items()}
    if not finite or torch.stack([*finite.values()]).all():  # reads from a GPU only once
        return
    for name, value in values.items():
        if not finite[name]:
            raise _divergence_error(module, name, value[~value.isfinite()][0].item())


def _divergence_error(module: LightningModule, name: str, value: float, batch: str = "") -> UserError:
    rate = module.trainer.optimizers[0].param_groups[0].get("lr") if module.trainer.optimizers else None
    scaling = "" if getattr(module, "standardize", True) else ", or standardise with --model.standardize true"
    return UserError(
        f"--optimizer.lr {rate}: training diverges, {name} is {value:g} in epoch {module.current_epoch + 1}{batch}; "
        f"lower the learning rate, or clip gradients with --trainer.gradient_clip_val{scaling}"
    )
