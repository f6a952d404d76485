"""Metrics of next tokens, as sums over tokens, for batches of any size and any number of processes."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torchmetrics import Metric

from project.models.metrics import sum_dtype
from project.nets.token_losses import IGNORED
from project.runtime.distributed import gather_equal


class TokenMetrics(Metric):
    """Compute `loss` in nats per token, `perplexity`, and `bits_per_byte` of the text.

    Bits per byte are comparable between models with different tokenizers, and with compressors.

    Args:
        token_bytes: Number of bytes of text that each token represents; None if it is unknown.
    """

    full_state_update = False
    nats: Tensor
    tokens: Tensor
    bytes: Tensor
    token_bytes: Tensor | None

    def __init__(self, token_bytes: Sequence[int] | None = None) -> None:
        super().__init__(dist_sync_fn=gather_equal)
        self.names = ("loss", "perplexity", *(["bits_per_byte"] if token_bytes else []))
        known = torch.tensor(token_bytes, dtype=torch.int64) if token_bytes else None
        self.register_buffer("token_bytes", known, persistent=False)
        for state in ("nats", "tokens", "bytes"):
            self.add_state(state, torch.tensor(0.0), dist_reduce_fx="sum")

    def update(self, losses: Tensor, targets: Tensor) -> None:
        """Add a batch: the loss of each token as `token_losses` returns it, and the targets, both (B, T)."""
        dtype, counted = sum_dtype(losses), targets != IGNORED
        self.nats = self.nats + losses.to(dtype).sum()
        self.tokens = self.tokens + counted.sum().to(dtype)
        if self.token_bytes is not None:
            self.bytes = self.bytes + (self.token_bytes[targets.clamp(min=0)] * counted).sum().to(dtype)

    def compute(self) -> dict[str, Tensor]:
        """Return the metrics over all tokens of all processes."""
        loss = self.nats / self.tokens
        metrics = {"loss": loss, "perplexity": loss.exp()}
        if self.token_bytes is not None:
            metrics["bits_per_byte"] = self.nats / math.log(2) / self.bytes
        return metrics
