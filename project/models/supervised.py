"""Base class of supervised models, with standardisation, shape checks, row-weighted metrics and training steps."""

from collections.abc import Mapping
from functools import partial
from typing import Any, Literal

import torch
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torchmetrics import Metric, MetricCollection

from project.data.loader import Batch, Batches
from project.data.sampling import Sampling
from project.models.evaluation import Evaluated, log_equal, log_metrics
from project.models.hyperparameters import factory, plain
from project.models.loss_watch import LossWatch, require_finite
from project.models.losses import mean_loss, of_target_units
from project.models.metrics import MeanLoss, RunningMetrics
from project.models.objective import each_member, penalty, require_different_members
from project.models.optimization import (
    Interval,
    learning_rates,
    optimizer_and_scheduler,
    parameter_groups,
    set_learning_rate,
    step_scheduler,
)
from project.models.prepared import PreparedBatch
from project.models.schedules import plan_schedules
from project.models.standardization import loader_statistics, set_statistics, standardize_by
from project.models.step_graph import StepGraph, step_graph
from project.models.steps import MAX_STEPS, match_progress, take_steps, takes_several_steps
from project.nets.ensemble import Ensemble
from project.nets.net import Net
from project.nets.one_hot import OneHot
from project.nets.scaling import Standardized, column_shape
from project.runtime.distributed import gather
from project.runtime.errors import UserError
from project.runtime.ranges import NonNegativeFloat

SGD = partial(torch.optim.SGD, lr=0.01)


class Supervised(Evaluated):
    """Base class of supervised models; a subclass chooses the loss and the metrics.

    Batches are `(x, y)` with x float32 (B, *in_shape), or `(x, y, weights)` with row weights (B, 1) for the loss.
    `train/loss`, `val/loss`, `test/loss` and the metrics of the subclass are logged once per epoch and weighted by
    rows; with a penalty, `train/penalty` is logged as well.

    Args:
        network: The network.
        criterion: The loss, which must average over rows.
        metrics: Metrics of outputs and targets, by name.
        target_shape: Shape of the target statistics; `()` for targets without statistics.
        test_only: Metrics that are too expensive to compute in each epoch, and are computed for the test rows only.
        one_hot: Replaces the codes of categories in x before the network; None if x has none.
        log_link: "rate" if the network computes the logarithm of a rate, "target" if it computes the logarithm of the
            targets and the loss compares logarithms.
        l1: Factor of the sum of absolute weights, without biases, that is added to the loss.
        l2: Factor of the sum of squared weights, without biases, that is added to the loss.
        standardize: Whether to standardise inputs, and numerical targets, inside the net with the statistics of the
            training rows.
        compile: Whether to compile the net with `torch.compile`.
        cuda_graph: Whether to capture an optimizer step as a CUDA graph, which makes small nets on a GPU several times
            faster. It has no effect on the CPU.
        optimizer: Builds the optimizer from the parameters: a class of `torch.optim`, or a `functools.partial` of one.
        lr_scheduler: Builds the learning rate scheduler from the optimizer; None for a constant learning rate.
        lr_interval: Whether the scheduler steps after each epoch or after each optimizer step.
    """

    layer_decay: float = 1.0  # set by the callback `Finetuning`
    step_graph: StepGraph | None = None

    def __init__(
        self,
        network: Net,
        criterion: nn.Module,
        metrics: Mapping[str, Metric],
        target_shape: tuple[int, ...],
        test_only: Mapping[str, Metric] | None = None,
        one_hot: OneHot | None = None,
        log_link: Literal["rate", "target"] | None = None,
        l1: NonNegativeFloat = 0.0,
        l2: NonNegativeFloat = 0.0,
        standardize: bool = True,
        compile: bool = False,
        cuda_graph: bool = False,
        optimizer: OptimizerCallable = SGD,
        lr_scheduler: LRSchedulerCallable | None = None,
        lr_interval: Interval = "epoch",
    ) -> None:
        super().__init__()
        ignored = ["network", "criterion", "metrics", "target_shape", "test_only", "one_hot", "log_link"]
        self.save_hyperparameters(ignore=ignored, logger=False)
        hyperparameters = plain({**self.hparams, "optimizer": optimizer, "lr_scheduler": lr_scheduler})
        self.remove_ignored_hparams(list(self.hparams))
        self.save_hyperparameters(hyperparameters, logger=False)
        self.optimizer, self.lr_scheduler, self.lr_interval = factory(optimizer), factory(lr_scheduler), lr_interval
        if getattr(criterion, "reduction", "mean") != "mean":
            raise UserError("--model.loss: reduction must be mean, so that all rows have the same weight")
        links = log_link is not None, log_link == "target"
        self.net = Standardized(network, column_shape(network.in_shape), target_shape, one_hot, *links)
        if compile:
            self.net.net.compile()
        self.criterion, self.standardize, self.cuda_graph, self.l1, self.l2 = criterion, standardize, cuda_graph, l1, l2
        collection = MetricCollection({"loss": MeanLoss(of_target_units(criterion)), **metrics})
        self.train_metrics, self.val_metrics, self.test_metrics = (collection.clone() for _ in range(3))
        self.test_metrics.add_metrics(dict(test_only or {}))
        self.running = RunningMetrics(self.train_metrics, self.net.original)
        self._pending: Batch | None = None  # outputs, targets and weights to be added to the training metrics
        self._groups_steps = False
        self.loss_watch = LossWatch(self)
        self._resumed_metrics: list[dict[str, Any]] = []  # one dict for each process

    def objective(self, outputs: Tensor, batch: PreparedBatch) -> Tensor:
        """Return the loss to minimise without penalties, a scalar; outputs (B, out_features) are in standard units."""
        return mean_loss(self.criterion, outputs, batch.targets, batch.weights)

    def setup(self, stage: str) -> None:
        """Set the statistics of the training rows in the net. Those of a checkpoint replace them later."""
        self._groups_steps = takes_several_steps(self, Supervised, self.lr_scheduler, self.lr_interval)
        if stage == "fit":
            self.automatic_optimization = not self._groups_steps
            set_statistics(self.net, getattr(self.trainer, "datamodule", None), self.standardize)

    @property
    def lr(self) -> float:
        """The learning rate, which Lightning's LearningRateFinder sets."""
        return self.trainer.optimizers[0].param_groups[0]["lr"]

    @lr.setter
    def lr(self, rate: float) -> None:
        set_learning_rate(self.trainer, rate)

    def on_train_start(self) -> None:
        """Reset the state that a LearningRateFinder has left, and restore the metrics of a checkpoint."""
        data, loader = getattr(self.trainer, "datamodule", None), self.trainer.train_dataloader
        require_different_members(self.net.net, getattr(data, "sampling", Sampling()))
        known = hasattr(data, "feature_statistics") or self.trainer.global_step  # set before, or from a checkpoint
        if self.standardize and not known and loader is not None:
            standardize_by(self.net, *loader_statistics(loader, self.net.log_target))
        plan_schedules(self.trainer)
        self.running.reset()
        self.loss_watch.reset()
        self._pending = None
        if len(self._resumed_metrics) == self.trainer.world_size:
            self.running.load_state_dict(self._resumed_metrics[self.global_rank], self.device)
        self._resumed_metrics = []
        self.step_graph = step_graph(self) if self.cuda_graph else None

    def on_train_end(self) -> None:
        """Free the memory of the captured step."""
        self.step_graph = None

    def forward(self, x: Tensor) -> Tensor:
        """Return outputs (B, out_features) in target units for x (B, *in_shape) in original units."""
        return self.net(x)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Return the optimizer and the scheduler that the arguments describe."""
        groups = parameter_groups(self.net.net, self.layer_decay)
        return optimizer_and_scheduler(self, self.optimizer, self.lr_scheduler, self.lr_interval, groups)

    @property
    def steps_per_execution(self) -> int:
        """Maximum number of batches in one item of a loader: 1 if a callback or a setting needs single steps."""
        return MAX_STEPS if self._groups_steps else 1

    def training_step(self, batch: Batch | Batches, batch_idx: int) -> Tensor | None:
        """Return the loss of a batch; for several batches (`Batches`), take the optimizer steps and return None."""
        if isinstance(batch, Batches):
            take_steps(self, batch, batch_idx)
            return None
        loss, outputs = self.compute_loss(self.prepare(*batch))
        self._pending = (outputs, *batch[1:])  # LBFGS evaluates the loss of a batch several times
        self.loss_watch.check(loss, batch_idx + 1)
        return loss

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Update the training metrics with the last evaluation of the batch."""
        self._flush_pending()

    def prepare(self, x: Tensor, y: Tensor, weights: Tensor | None = None, *, overwrite: bool = False) -> PreparedBatch:
        """Return a batch in standard units; `overwrite` reuses the memory of x."""
        return PreparedBatch(self.net.inputs(x, overwrite), self.net.standard_targets(y), y, weights)

    def update_train_metrics(self, outputs: Tensor, y: Tensor, weights: Tensor | None = None) -> None:
        """Update the training metrics: outputs (B, out_features) in standard units, targets in original units."""
        self.running.update(outputs, y, weights)

    def compute_loss(self, batch: PreparedBatch) -> tuple[Tensor, Tensor]:
        """Return the loss with penalties, and the outputs (B, out_features) in standard units."""
        outputs, each, batches = each_member(self.net.net, batch)
        self.check_targets(outputs, batch.targets)
        loss = self.objective(each, batches)
        if self.members > 1:  # the sum over members, so that each is trained as if it were the only one
            loss = loss * self.members
        return loss + penalty(self.net, self.l1, self.l2) if self.l1 or self.l2 else loss, outputs.detach()

    @property
    def members(self) -> int:
        """Number of members of an ensemble; 1 for other nets. The data module draws a bootstrap sample for each."""
        return self.net.net.count if isinstance(self.net.net, Ensemble) else 1

    @property
    def metric_names(self) -> list[str]:
        """Names of the metrics of each split, without the split."""
        return [part for name, metric in self.val_metrics.items() for part in getattr(metric, "names", [name])]

    def _flush_pending(self) -> None:
        """Update the training metrics with the outputs of the last evaluation of the last batch."""
        if self._pending is not None:
            self.update_train_metrics(*self._pending)
            self._pending = None

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add the running metrics of each process; raise a UserError if a weight is not finite."""
        self._flush_pending()
        self.loss_watch.flush()
        checkpoint["running_metrics"] = gather(self.running.state_dict())
        require_finite(self, checkpoint["state_dict"])

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep the running metrics until training starts."""
        match_progress(checkpoint, self.automatic_optimization)
        self._resumed_metrics = checkpoint.get("running_metrics", [])

    def on_train_epoch_end(self) -> None:
        """Log the training metrics, and the penalty separately from the loss."""
        self._flush_pending()
        self.loss_watch.flush()
        self.running.flush()
        log_metrics(self, "train", self.train_metrics)
        log_equal(self, learning_rates(self.trainer.optimizers[0]))
        step_scheduler(self)
        if self.l1 or self.l2:
            self.log("train/penalty", penalty(self.net, self.l1, self.l2))

    def on_validation_start(self) -> None:
        """Check the losses of the steps so far, so that an error names the step at which training diverged."""
        self.loss_watch.flush()

    def predict_step(self, batch: Batch | Tensor, batch_idx: int) -> Tensor:
        """Return outputs (B, out_features) in target units for a batch `(x, y)`, or for x alone (B, *in_shape)."""
        return self(batch if isinstance(batch, Tensor) else batch[0])
