"""Evaluation of a model on batches, and logging of the metrics of an epoch."""

import re
import warnings
from abc import abstractmethod
from collections.abc import Mapping
from functools import cache
from typing import Literal

import torch
import torch.distributed as dist
from lightning.pytorch import LightningModule
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor
from torchmetrics import MetricCollection

from project.data.loader import Batch, Batches
from project.models.loss_watch import require_finite
from project.runtime.distributed import gather


def evaluate_batch(module: LightningModule, batch: Batch | Batches) -> tuple[Tensor, ...]:
    """Return outputs (B, out_features) of a module in target units, targets, and weights if there are any."""
    if isinstance(batch, Batches):  # larger batches are faster, and metrics do not depend on their size
        batch.batch_size = max(batch.batch_size, 1_024)
    parts = [(module(x), *others) for x, *others in (batch if isinstance(batch, Batches) else [batch])]
    return tuple(torch.cat(part) for part in zip(*parts, strict=True))


def log_metrics(module: LightningModule, split: Literal["train", "val", "test"], metrics: MetricCollection) -> None:
    """Log the metrics of an epoch, and reset them.

    Metrics without an update are not logged, such as those of a subclass whose `training_step` does not update them.

    Raises:
        UserError: If the loss is not finite.
    """
    if not any(gather(metrics["loss"].update_called)):
        return
    values = {f"{split}/{name}": value for name, value in metrics.compute().items()}
    loss = {f"{split}/loss": values.pop(f"{split}/loss")}
    require_finite(module, loss)
    trainer = module.trainer
    if trainer.fit_loop.epoch_progress.total.ready:  # the x-axis of loggers, which by default counts items
        step = trainer.global_step - (trainer.state.fn == TrainerFn.FITTING)
        log_equal(module, {"step": torch.tensor(step, dtype=torch.float64, device=module.device)})
    log_equal(module, loss, prog_bar=True)
    log_equal(module, values)
    metrics.reset()


def log_equal(module: LightningModule, values: Mapping[str, float | Tensor], **options: bool) -> None:
    """Log values that are the same in all processes, such as those that `compute` of a metric has synchronised.

    With `sync_dist`, which Lightning recommends in a warning, each would take two messages between the processes.
    """
    for name in values if dist.is_available() and dist.is_initialized() else ():
        _ignore_advice(name)
    module.log_dict(values, **options)  # type: ignore[arg-type]


@cache  # since each call of `filterwarnings` makes Python repeat all warnings that it shows once
def _ignore_advice(name: str) -> None:
    warnings.filterwarnings("ignore", rf".*self\.log\('{re.escape(name)}'")


class Evaluated(LightningModule):
    """Base class with validation and test, which log metrics over all rows once per epoch.

    Attributes:
        val_metrics: Metrics of outputs and targets, with the loss as `loss`.
        test_metrics: The same for the test rows.
    """

    val_metrics: MetricCollection
    test_metrics: MetricCollection

    @abstractmethod
    def check_targets(self, outputs: Tensor, y: Tensor) -> None:
        """Raise a UserError unless y can be compared with outputs (B, out_features)."""

    def validation_step(self, batch: Batch | Batches, batch_idx: int) -> None:
        """Update the validation metrics with a batch."""
        self._update_metrics(self.val_metrics, batch, batch_idx)

    def on_validation_epoch_end(self) -> None:
        """Log the validation metrics."""
        log_metrics(self, "val", self.val_metrics)

    def test_step(self, batch: Batch | Batches, batch_idx: int) -> None:
        """Update the test metrics with a batch."""
        self._update_metrics(self.test_metrics, batch, batch_idx)

    def on_test_epoch_end(self) -> None:
        """Log the test metrics."""
        log_metrics(self, "test", self.test_metrics)

    def _update_metrics(self, metrics: MetricCollection, batch: Batch | Batches, batch_idx: int) -> int:
        """Update metrics with a batch, and return its number of rows."""
        outputs, targets, *weights = evaluate_batch(self, batch)
        if batch_idx == 0:
            self.check_targets(outputs, targets)
        metrics.update(outputs, targets, weights=weights[0] if weights else None)
        return len(targets)
