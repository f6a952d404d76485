"""Language modelling: the outputs of the net are logits of the next token at each position."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from lightning.pytorch.cli import OptimizerCallable
from torch import Tensor, nn
from torchmetrics import Metric, MetricCollection

from project.data.loader import Batch, Batches
from project.models.hyperparameters import factory
from project.models.losses import over_processes
from project.models.objective import penalty
from project.models.optimization import Interval
from project.models.prepared import PreparedBatch
from project.models.supervised import Supervised
from project.models.token_metrics import TokenMetrics
from project.nets.ensemble import Ensemble
from project.nets.gpt import GPT
from project.nets.lora import LoRA
from project.nets.net import NetFactory
from project.nets.plain import PlainNet, build
from project.nets.token_losses import IGNORED, token_losses
from project.runtime.errors import UserError

MANY_LOGITS = 2**24  # of a batch
ADAMW = partial(torch.optim.AdamW, lr=1e-3)


class LanguageModel(Supervised):
    """Train a language model to predict the next token.

    Batches are `(x, y)`, both int64 (B, T); y has the token after each token of x, or -100 where it is ignored. The
    logged metrics are `loss` (nats per token), `perplexity` and `bits_per_byte`.

    Args:
        in_shape: (context,), the largest number of tokens; set by the data.
        out_features: Number of tokens in the vocabulary; set by the data.
        net: The network, from tokens (B, T) to logits (B, T, vocabulary), or a callable that builds it from the sizes
            of the data.
        token_bytes: Number of bytes of text that each token represents; set by the data.
        optimizer: Builds the optimizer from parameter groups: the matrices of hidden layers; embeddings and the head,
            with `"muon": False`; and vectors such as norms and biases, without weight decay.
        lr_interval: Whether the scheduler steps after each epoch or after each optimizer step.
        **kwargs: Arguments of `Supervised`: `l1`, `l2`, `compile`, `lr_scheduler`.
    """

    learns_pairs = False

    def __init__(
        self,
        in_shape: tuple[int, ...],
        out_features: int,
        net: NetFactory = GPT,  # type: ignore[assignment]
        token_bytes: Sequence[int] | None = None,
        optimizer: OptimizerCallable = ADAMW,
        lr_interval: Interval = "step",
        **kwargs: Any,
    ) -> None:
        built = build(factory(net), in_shape, out_features)
        if isinstance(built, PlainNet):
            built.takes_tokens = True
        for ensemble in (module for module in built.modules() if isinstance(module, Ensemble)):
            ensemble.classifies = True
        if not built.takes_tokens:
            raise UserError(f"--model.net {type(built).__name__}: does not take tokens; use GPT")
        metrics = {"loss": self.metric(token_bytes)}
        kwargs |= {"optimizer": optimizer, "lr_interval": lr_interval, "standardize": False}
        super().__init__(built, nn.CrossEntropyLoss(), metrics, (), log_link=None, **kwargs)

    def metric(self, token_bytes: Sequence[int] | None) -> Metric:
        """Return the metric that `update_train_metrics` updates; it must compute `loss`."""
        return TokenMetrics(token_bytes)

    def check_targets(self, outputs: Tensor, y: Tensor) -> None:
        """Raise a UserError unless the targets are tokens, one for each token of x."""
        if y.shape != outputs.shape[:2] or y.is_floating_point() or outputs.ndim != 3:
            raise UserError(
                f"targets have shape {tuple(y.shape)} and type {y.dtype}, logits {tuple(outputs.shape)}; the data must "
                "have tokens (rows, context) int64 as inputs and targets, as with --data TextDataModule"
            )

    def setup(self, stage: str) -> None:
        """Check that the data has pairs of answers only if the model learns from pairs."""
        super().setup(stage)
        if self.learns_pairs != getattr(getattr(self.trainer, "datamodule", None), "has_pairs", self.learns_pairs):
            learns = (
                "pairs of answers; use --data Preference"
                if self.learns_pairs
                else "no pairs; use --model DPO, or --data Dialogue"
            )
            raise UserError(f"--model {type(self).__name__}: learns from {learns}DataModule")

    def compute_loss(self, batch: PreparedBatch) -> tuple[Tensor, Tensor]:
        """Return the loss with penalties, a mean over tokens, and the loss of each token (B, T) for the metrics."""
        net = self.net.net
        counted = (batch.targets != IGNORED).sum()
        if self.skips_logits(batch):
            losses = net(batch.inputs, targets=batch.targets)
            return self.penalized(over_processes(losses.sum() / counted.clamp(min=1), counted)), losses.detach()
        # The losses of ensemble members are summed, so that each member is trained as if it were the only one.
        each = net.each(batch.inputs) if isinstance(net, Ensemble) else net(batch.inputs)[None]  # (…, B, T, vocabulary)
        self.check_targets(each[0], batch.targets)
        found = [token_losses(logits, batch.targets) for logits in each]
        objective = torch.stack([self.token_objective(*pair, batch) for pair in zip(each, found, strict=True)]).sum(0)
        losses = token_losses(net.combine(each.detach()), batch.targets) if isinstance(net, Ensemble) else found[0]
        return self.penalized(over_processes(objective.sum() / counted.clamp(min=1), counted)), losses.detach()

    def penalized(self, loss: Tensor) -> Tensor:
        """Return the loss with penalties."""
        return loss + penalty(self.net, self.l1, self.l2) if self.l1 or self.l2 else loss

    def skips_logits(self, batch: PreparedBatch) -> bool:
        """Whether the logits of a batch would take much memory and nothing but the losses is needed of them."""
        net = self.net.net
        is_gpt = isinstance(net.net if isinstance(net, LoRA) else net, GPT)
        is_plain = type(self).token_objective is LanguageModel.token_objective
        return is_gpt and is_plain and batch.targets.numel() * net.out_features >= MANY_LOGITS

    def token_objective(self, logits: Tensor, losses: Tensor, batch: PreparedBatch) -> Tensor:
        """Return the objective of each token, (B, T), 0 where the target is ignored.

        Args:
            logits: Shape (B, T, vocabulary).
            losses: Negative log-likelihood of each token, (B, T).
            batch: The batch.
        """
        return losses

    def update_train_metrics(self, outputs: Tensor, y: Tensor, weights: Tensor | None = None) -> None:
        """Update the training metrics with the loss of each token and the targets, both (B, T)."""
        self.running.update(outputs, y)
        # Not later, because small tensors between freed logits would fragment the memory of a GPU.
        self.running.flush()

    def _update_metrics(self, metrics: MetricCollection, batch: Batch | Batches, batch_idx: int) -> int:
        """Update metrics with a batch, and return its number of rows; only the logits of one batch are in memory."""
        rows = 0
        for x, y, *_ in batch if isinstance(batch, Batches) else [batch]:
            logits = self(x)
            if batch_idx == rows == 0:
                self.check_targets(logits, y)
            metrics.update(token_losses(logits, y), y)
            rows += len(x)
        return rows
