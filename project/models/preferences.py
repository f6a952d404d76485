"""Direct preference optimization (DPO): a language model learns which of two answers people prefer.

Source: Rafailov et al., "Direct Preference Optimization: Your Language Model is Secretly a Reward Model" (2023).
"""

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import softplus
from torchmetrics import Metric, MetricCollection

from project.data.loader import Batch, Batches
from project.models.language_model import LanguageModel
from project.models.losses import over_processes
from project.models.metrics import sum_dtype
from project.models.objective import penalty
from project.models.prepared import PreparedBatch
from project.nets.scaling import Standardized
from project.nets.token_losses import token_losses
from project.runtime.ranges import PositiveFloat


class DPO(LanguageModel):
    """Train a language model to prefer the chosen of two answers to the rejected one.

    The reward of an answer is beta times the difference of its log-probabilities under the network and under the
    reference. The loss of a pair is -log(sigmoid(reward of the chosen - reward of the rejected)). The logged metrics
    are `loss`, `margin` (the mean difference of the rewards) and `accuracy` (the share of pairs whose chosen answer has
    the larger reward).

    Batches are those of `PreferenceDataModule`: x (B, 2, T) int64 has two dialogues, y (B, T) the next tokens, -100
    outside the answers.

    Args:
        reference: A run folder or a checkpoint, which is not trained; by default the initial weights of the network.
        beta: Strength of the regularisation towards the reference.
        **kwargs: Arguments of `LanguageModel`.
    """

    learns_pairs = True

    def __init__(self, reference: str | None = None, beta: PositiveFloat = 0.1, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.beta = beta
        self._reference: tuple[Standardized, ...] = ()  # a tuple, so that it is not registered as a submodule and saved

    def set_reference(self, reference: Standardized) -> None:
        """Set the reference network."""
        self._reference = (reference.eval().requires_grad_(False),)

    def metric(self, token_bytes: Any) -> Metric:
        """Return the metrics of pairs."""
        return PreferenceMetrics()

    def setup(self, stage: str) -> None:
        """Move the reference to the device of the network."""
        super().setup(stage)
        for reference in self._reference:
            reference.to(self.device)

    def prepare(self, x: Tensor, y: Tensor, weights: Tensor | None = None, *, overwrite: bool = False) -> PreparedBatch:
        """Return a batch with the log-probabilities (B, 2) of both answers under the reference."""
        with torch.no_grad():
            known = answer_log_probabilities(self._reference[0](x), x, y)
        return super().prepare(x, y, weights, overwrite=overwrite)._replace(teacher_outputs=known)

    def compute_loss(self, batch: PreparedBatch) -> tuple[Tensor, Tensor]:
        """Return the loss with penalties, a mean over pairs, and the margin of each pair (B,) for the metrics."""
        logits = self.net.net(batch.inputs)
        self.check_targets(logits, batch.targets)
        assert batch.teacher_outputs is not None
        margins = self.margins(answer_log_probabilities(logits, batch.inputs, batch.targets), batch.teacher_outputs)
        loss = over_processes(softplus(-margins).mean(), len(margins))
        return loss + penalty(self.net, self.l1, self.l2) if self.l1 or self.l2 else loss, margins.detach()

    def margins(self, learned: Tensor, known: Tensor) -> Tensor:
        """Return the differences of rewards, (B,), from log-probabilities of the network and the reference, (B, 2)."""
        chosen, rejected = (self.beta * (learned - known)).unbind(1)
        return chosen - rejected

    def _update_metrics(self, metrics: MetricCollection, batch: Batch | Batches, batch_idx: int) -> int:
        rows = 0
        for x, y, *_ in batch if isinstance(batch, Batches) else [batch]:
            prepared = self.prepare(x, y)
            metrics.update(self.compute_loss(prepared)[1], y)
            rows += len(x)
        return rows


def answer_log_probabilities(logits: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Return the log-probability of the answers in both dialogues of each row, (B, 2).

    Args:
        logits: Shape (B, T, vocabulary).
        x: Tokens, and the index of the dialogue of each token, (B, 2, T).
        y: Next tokens, -100 outside the answers, (B, T).
    """
    losses = token_losses(logits, y)
    return torch.stack([-(losses * (x[:, 1] == number)).sum(1) for number in (0, 1)], dim=1)


class PreferenceMetrics(Metric):
    """`loss`, `margin` and `accuracy` of pairs of answers, as means over pairs."""

    full_state_update = False
    names = ("loss", "margin", "accuracy")
    sums: Tensor
    pairs: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_state("sums", torch.zeros(3), dist_reduce_fx="sum")
        self.add_state("pairs", torch.tensor(0.0), dist_reduce_fx="sum")

    def update(self, margins: Tensor, targets: Tensor) -> None:
        """Add a batch: the difference of the rewards of each pair, (B,)."""
        margins = margins.to(sum_dtype(margins))
        values = torch.stack([softplus(-margins), margins, (margins > 0).to(margins.dtype)])
        self.sums = self.sums + values.sum(1)
        self.pairs = self.pairs + len(margins)

    def compute(self) -> dict[str, Tensor]:
        """Return the means over the pairs of all processes."""
        return dict(zip(self.names, self.sums / self.pairs, strict=True))
