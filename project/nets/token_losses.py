"""Losses of next tokens, also without the logits of all tokens in memory."""

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.checkpoint import checkpoint

IGNORED = -100  # target of tokens that are ignored
CHUNK, GPU_CHUNK = 2**21, 2**26  # logits at a time


def token_losses(logits: Tensor, targets: Tensor) -> Tensor:
    """Return the negative log-likelihood of each target in nats; 0 where the target is -100.

    Logits (B, T, vocabulary), targets (B, T) -> (B, T), float32 or higher.
    """
    return cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=IGNORED, reduction="none").view_as(
        targets
    )


def chunked_losses(hidden: Tensor, head: nn.Module, vocabulary: int, targets: Tensor) -> Tensor:
    """Return the `token_losses` of the logits `head(hidden)`, a chunk of tokens at a time.

    The backward pass computes the logits again. Hidden states (B, T, width), targets (B, T) -> (B, T).
    """

    def losses(hidden: Tensor, targets: Tensor) -> Tensor:
        return token_losses(head(hidden), targets)

    size = max(1, (GPU_CHUNK if hidden.is_cuda else CHUNK) // vocabulary)
    chunks = zip(hidden.flatten(0, 1)[None].split(size, 1), targets.flatten()[None].split(size, 1), strict=True)
    found = [checkpoint(losses, *chunk, use_reentrant=False, preserve_rng_state=False) for chunk in chunks]
    return torch.cat(found, dim=1).view_as(targets)
