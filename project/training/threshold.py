"""Choose the decision threshold of a classifier on the validation rows."""

from typing import Any

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.utilities import rank_zero_warn

from project.models.classification import Classification
from project.models.threshold import Choice, best_threshold

BATCH_ROWS, USUAL = 1_024, 0.5


@torch.inference_mode()
def choose_threshold(model: LightningModule, data: Any) -> Choice | None:
    """Choose the threshold of a model with `threshold` balanced or f1, and use it in its metrics; None for others.

    Each row counts once, whatever its weight.
    """
    if not isinstance(model, Classification) or not isinstance(model.threshold, str):
        return None
    rows, was_training, device = data.splits.val, model.training, next(model.parameters()).device
    model.eval()
    batches = (rows.gather(slice(start, start + BATCH_ROWS)) for start in range(0, len(rows), BATCH_ROWS))
    pairs = [(model(x.to(device)).softmax(1)[:, 1].cpu(), y.cpu() == 1) for x, y, *_ in batches]
    model.train(was_training)
    probabilities, occurred = (torch.cat(part) for part in zip(*pairs, strict=True))
    choice = best_threshold(probabilities, occurred, model.threshold)
    if choice is None:
        rank_zero_warn(f"--model.threshold {model.threshold}: the validation rows are of one class; {USUAL} is used")
        choice = Choice(USUAL, torch.nan, torch.nan)
    model.decide_at(choice.threshold)
    return choice
