"""What every supervised model shares: standardisation, checked shapes, row-weighted metrics, the steps."""

import copy
from abc import abstractmethod
from typing import Any, Literal

import torch
from lightning.pytorch import LightningModule
from torch import Tensor, nn
from torchmetrics import Metric, MetricCollection

from project.data.loader import Batch, Batches
from project.data.sampling import Sampling
from project.data.statistics import Statistics
from project.models.loss_watch import LossWatch, divergence
from project.models.metrics import MeanLoss
from project.models.prepared import PreparedBatch
from project.models.running_metrics import RunningMetrics
from project.models.steps import STEP_HOOKS, count_step, watches_steps
from project.nets.ensemble import Ensemble
from project.nets.net import Net
from project.nets.scaling import Standardized, column_shape
from project.runtime.distributed import gather
from project.runtime.errors import UserError

Split = Literal["train", "val", "test"]
STEPS = ("training_step", "validation_step", "test_step", "optimizer_step", "optimizer_zero_grad", "backward")
MAX_STEPS = 64
EVALUATED_ROWS = 1_024
METRICS_KEY = "running_metrics"


class Supervised(LightningModule):
    """A net that learns targets from inputs; a subclass says by which loss and metrics.

    Batches are `(x, y)` with x float32 (B, *in_shape). Logged for every split, once an epoch and weighted by rows:
    `train/loss`, `val/loss`, `test/loss` and the metrics of the subclass; and `train/penalty` where there is one.

    Args:
        net: Computes outputs from inputs.
        criterion: The loss, which must average over rows.
        metrics: Turn outputs and targets into named numbers.
        standardize: Whether to standardise inputs (and targets that are numbers) inside the net, by the training rows.
        target_shape: Shape of the target statistics; `()` where targets have none.
        l1: Weight of the sum of absolute weights, added to the loss; biases are never penalised.
        l2: Weight of the sum of squared weights, added to the loss; biases are never penalised.
        compile: Whether to compile the net with `torch.compile`.

    Raises:
        UserError: If a penalty is negative, or the loss does not average.
    """

    def __init__(
        self,
        net: Net,
        criterion: nn.Module,
        metrics: dict[str, Metric],
        standardize: bool,
        target_shape: tuple[int, ...],
        l1: float,
        l2: float,
        compile: bool,
    ) -> None:
        super().__init__()
        if getattr(criterion, "reduction", "mean") != "mean":
            raise UserError("--model.loss: reduction must be mean, so that batches of any size weigh every row alike")
        for flag, value in [("l1", l1), ("l2", l2)]:
            if value < 0:
                raise UserError(f"--model.{flag} is {value}: a penalty is 0 or more")
        self.net = Standardized(net, column_shape(net.in_shape), target_shape)
        if compile:
            self.net.net.compile()
        self.criterion, self.standardize, self.l1, self.l2 = criterion, standardize, l1, l2
        collection = MetricCollection({"loss": MeanLoss(criterion), **metrics})
        self.train_metrics, self.val_metrics, self.test_metrics = (collection.clone() for _ in range(3))
        self.running = RunningMetrics(self.train_metrics, self.net.original)
        self._last: PreparedBatch
        self._stepped = -1
        self._evaluated: Batch | None = None
        self._loss_watch = LossWatch(self)
        self._resumed: list[dict[str, Any]] = []

    @abstractmethod
    def check_targets(self, outputs: Tensor, y: Tensor) -> None:
        """Raise a ValueError where y is not what outputs (B, out_features) are to be compared with."""

    def objective(self, outputs: Tensor, batch: PreparedBatch) -> Tensor:
        """What is minimised, penalties apart: outputs (B, out_features) in standard units -> a scalar."""
        if batch.weights is None:
            return self.criterion(outputs, batch.targets)
        by_row: Any = copy.copy(self.criterion)
        by_row.reduction = "none"
        return (by_row(outputs, batch.targets).flatten(1).mean(1) * batch.weights.flatten()).mean()

    def penalty(self) -> Tensor:
        """l1 * sum |w| + l2 * sum w^2 over weights in standard units, biases apart."""
        weights = torch.cat([p.flatten() for p in self.net.parameters() if p.ndim > 1])
        return self.l1 * weights.abs().sum() + self.l2 * weights.square().sum()

    def setup(self, stage: str) -> None:
        """Standardise by the training rows' statistics (a checkpoint, if any, is loaded over them)."""
        if stage != "fit" or not self.standardize:
            return
        data: Any = getattr(self.trainer, "datamodule", None)
        if not isinstance(getattr(data, "feature_statistics", None), Statistics):
            raise UserError(
                "standardisation needs a data module with statistics: give one, or --model.standardize false"
            )
        self.net.features.fill(data.feature_statistics.mean, data.feature_statistics.std)
        if self.net.targets.mean.ndim:
            if data.target_statistics is None:
                raise UserError("the data has classes and no numbers to learn: give --model Classification")
            self.net.targets.fill(data.target_statistics.mean, data.target_statistics.std)

    @property
    def lr(self) -> float:
        """The learning rate; Lightning's LearningRateFinder sets it."""
        return self.trainer.optimizers[0].param_groups[0]["lr"]

    @lr.setter
    def lr(self, rate: float) -> None:
        for optimizer in self.trainer.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = group["initial_lr"] = rate * group.get("lr_factor", 1.0)
        for config in self.trainer.lr_scheduler_configs:  # what schedules multiply
            config.scheduler.base_lrs = [group["initial_lr"] for group in config.scheduler.optimizer.param_groups]

    def on_train_start(self) -> None:
        """Forget what a search for a learning rate has left; go on from what a checkpoint has brought."""
        net, data = self.net.net, getattr(self.trainer, "datamodule", None)
        sampling = getattr(data, "sampling", Sampling())
        if isinstance(net, Ensemble) and net.count > 1 and sampling.bootstrap is None and net.members_identical():
            raise UserError(
                "the members of the ensemble start alike, and would stay so: give each a sample of its own, "
                "with --sampling.bootstrap 0"
            )
        self.running.reset()
        self._loss_watch.reset()
        self._evaluated = None
        if len(self._resumed) == self.trainer.world_size:
            self.running.load_state_dict(self._resumed[self.global_rank], self.device)
        self._resumed = []

    def on_train_epoch_start(self) -> None:
        """Begin with the first batch."""
        self._stepped = -1

    def forward(self, x: Tensor) -> Tensor:
        """x (B, *in_shape) in original units -> (B, out_features) in target units."""
        return self.net(x)

    @property
    def steps_per_execution(self) -> int:
        """How many batches a loader may put into one item: several where nobody looks at single steps."""
        own = all(getattr(type(self), hook) is getattr(Supervised, hook) for hook in (*STEP_HOOKS, *STEPS))
        return MAX_STEPS if own and not watches_steps(self.trainer) else 1

    def training_step(self, batch: Batch | Batches, batch_idx: int) -> Tensor:
        """The objective of a batch; of several batches, that of the last one, with a step taken on each other."""
        first = batch_idx != self._stepped  # an optimizer may evaluate an objective several times, as LBFGS does
        if first:
            self._keep_evaluated()
            self._stepped = batch_idx
            if isinstance(batch, Batches):
                self._last = self._step_on_all_but_the_last(batch, batch_idx)
            else:
                self._last = self._prepare(*batch)
        loss, outputs = self._evaluate_objective(self._last)
        self._evaluated = (outputs, self._last.y)
        if first:
            number = batch_idx * MAX_STEPS + batch.count if isinstance(batch, Batches) else batch_idx + 1
            self._loss_watch.see(loss, number, now=True)
        return loss

    def _prepare(
        self, x: Tensor, y: Tensor, weights: Tensor | None = None, *, overwrite: bool = False
    ) -> PreparedBatch:
        targets = self.net.targets(y) if self.net.targets.mean.ndim else y
        return PreparedBatch(self.net.inputs(x, overwrite), targets, y, weights)

    def _step_on_all_but_the_last(self, batches: Batches, batch_idx: int) -> PreparedBatch:
        # At once, where batches are small; and in place, as what was gathered is a copy.
        pieces = (self._prepare(*piece, overwrite=batches.gathered) for piece in batches.pieces())
        remaining = (batch for piece in pieces for batch in piece.split(batches.batch_size))
        batch = next(remaining)
        for number, following in enumerate(remaining, start=batch_idx * MAX_STEPS + 1):
            self._step(batch, number)
            batch = following
        return batch

    def _step(self, batch: PreparedBatch, number: int) -> None:
        """What Lightning's loop does to a batch, without its hooks."""
        outputs, optimizer = batch.y, self.trainer.optimizers[0]

        def closure() -> Any:
            nonlocal outputs
            optimizer.zero_grad()
            loss, outputs = self._evaluate_objective(batch)
            loss.backward()
            return loss

        loss: Any = optimizer.step(closure)
        self._loss_watch.see(loss, number)
        count_step(self.trainer)
        self.keep(outputs, batch.y)

    def keep(self, outputs: Tensor, y: Tensor) -> None:
        """Take a batch into the training metrics: outputs (B, out_features) in standard units, and its targets."""
        self.running.keep(outputs, y)

    def _evaluate_objective(self, batch: PreparedBatch) -> tuple[Tensor, Tensor]:
        """The objective with penalties, and the outputs (B, out_features) in standard units."""
        if isinstance(net := self.net.net, Ensemble):  # each member learns as if it were alone
            each = net.each(batch.inputs)  # (members, B, out)
            outputs = net.combine(each)
            self.check_targets(outputs, batch.targets)
            loss = self.objective(each.flatten(0, 1), batch.repeated(len(each))) * len(each)
        else:
            outputs = net(batch.inputs)
            self.check_targets(outputs, batch.targets)
            loss = self.objective(outputs, batch)
        return loss + self.penalty() if self.l1 or self.l2 else loss, outputs.detach()

    def spread(self, x: Tensor) -> Tensor | None:
        """x (B, *in_shape) -> standard deviation over an ensemble's members (B, out_features), in target units or of
        probabilities; None where the net is no ensemble.
        """
        net = self.net.net
        return net.spread(self.net.inputs(x)) * self.net.targets.std if isinstance(net, Ensemble) else None

    @property
    def members(self) -> int:
        """How many nets learn side by side."""
        net = self.net.net
        return net.count if isinstance(net, Ensemble) else 1

    def _keep_evaluated(self) -> None:
        """Take the last batch's outputs into the metrics: those of its last evaluation."""
        if self._evaluated is not None:
            self.keep(*self._evaluated)
            self._evaluated = None

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add metrics of an epoch that is under way, by process; never save weights that are not finite."""
        self._keep_evaluated()
        checkpoint[METRICS_KEY] = gather(self.running.state_dict())
        bad = [name for name, value in checkpoint["state_dict"].items() if not value.isfinite().all()]
        if bad:
            raise divergence(self, f"weights {bad[0]} are no longer finite", f"epoch {self.current_epoch + 1}")

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep metrics of an epoch that was under way until training starts."""
        self._resumed = checkpoint.get(METRICS_KEY, [])

    def on_train_epoch_end(self) -> None:
        """Log the epoch's training metrics, and the penalty apart from the loss."""
        self._keep_evaluated()
        self.running.flush()
        self._log("train", self.train_metrics)
        if self.l1 or self.l2:
            self.log("train/penalty", self.penalty())

    def validation_step(self, batch: Batch | Batches, batch_idx: int) -> None:
        """Take a batch into the validation metrics."""
        self._evaluate(self.val_metrics, batch, batch_idx)

    def on_validation_epoch_end(self) -> None:
        """Log the validation metrics."""
        self._log("val", self.val_metrics)

    def test_step(self, batch: Batch | Batches, batch_idx: int) -> None:
        """Take a batch into the test metrics."""
        self._evaluate(self.test_metrics, batch, batch_idx)

    def on_test_epoch_end(self) -> None:
        """Log the test metrics."""
        self._log("test", self.test_metrics)

    def predict_step(self, batch: Batch | Tensor, batch_idx: int) -> Tensor:
        """A batch `(x, y)`, or x alone (B, *in_shape) -> (B, out_features) in target units."""
        return self(batch if isinstance(batch, Tensor) else batch[0])

    def _evaluate(self, metrics: MetricCollection, batch: Batch | Batches, batch_idx: int) -> int:
        """Take a batch into metrics, and return its number of rows."""
        if isinstance(batch, Batches):  # metrics are weighted by rows: they may come in any number
            batch.batch_size = max(batch.batch_size, EVALUATED_ROWS)
        pairs = [(self(x), y) for x, y, *_ in (batch if isinstance(batch, Batches) else [batch])]
        if batch_idx == 0:
            self.check_targets(*pairs[0])
        outputs, targets = (torch.cat(parts) for parts in zip(*pairs, strict=True))
        metrics.update(outputs, targets)
        return len(targets)

    def _log(self, split: Split, metrics: MetricCollection) -> None:
        # compute() has merged the processes already; sync_dist says so to Lightning, and averages equal values.
        values = metrics.compute()
        if not values["loss"].isfinite():
            raise divergence(self, f"{split} loss is {values['loss'].item()}", f"epoch {self.current_epoch + 1}")
        self.log(f"{split}/loss", values.pop("loss"), prog_bar=True, sync_dist=True)
        self.log_dict({f"{split}/{name}": value for name, value in values.items()}, sync_dist=True)
        metrics.reset()
