"""Attention masks and positions for windows with several documents that do not attend to each other."""

import torch
from torch import Tensor


def within_documents(documents: Tensor, window: int | None = None) -> Tensor:
    """Return the attention mask: a token (third dimension) attends to itself and earlier tokens of its document.

    Args:
        documents: Index of the document of each token, (B, T).
        window: Number of tokens that a token attends to, including itself; None for all.

    Returns:
        Shape (B, 1, T, T), bool.
    """
    size = documents.shape[1]
    before = torch.ones(size, size, dtype=torch.bool, device=documents.device).tril()
    if window is not None:
        before = before.triu(1 - window)
    return ((documents[:, :, None] == documents[:, None, :]) & before)[:, None]


def within_window(new: int, total: int, window: int | None, device: torch.device) -> Tensor:
    """Return the attention mask of the last `new` of `total` tokens, (new, total); `window` as above."""
    mask = torch.ones(new, total, dtype=torch.bool, device=device).tril(total - new)
    return mask if window is None else mask.triu(total - new - window + 1)


def positions_in(documents: Tensor) -> Tensor:
    """Return the position of each token in its document, starting at 0: documents (B, T) -> (B, T)."""
    places = torch.arange(documents.shape[1], device=documents.device).expand_as(documents)
    starts = documents.diff(dim=1, prepend=documents[:, :1] - 1) != 0
    return places - (places * starts).cummax(1).values
