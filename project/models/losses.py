"""Construction of losses from settings, and their mean over the rows of all processes."""

import copy
from collections.abc import Mapping
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from project.models.hyperparameters import factory
from project.runtime.errors import UserError

NUMBERS = (nn.MSELoss, nn.L1Loss, nn.SmoothL1Loss, nn.HuberLoss, nn.PoissonNLLLoss)
CLASSES = (nn.CrossEntropyLoss, nn.MultiMarginLoss)
SMALLEST = 1e-30  # replaces a sum of weights that is 0, to avoid a division by 0
# torch's losses for classes, to recognise them when they are used for numbers.
OF_CLASSES = (*CLASSES, nn.NLLLoss, nn.BCELoss, nn.BCEWithLogitsLoss)


def build_loss(loss: Any) -> nn.Module:
    """Return the loss of a class, a partial of a class, or plain data. Checkpoints do not contain its class weights."""
    criterion: nn.Module = factory(loss)()
    for name, buffer in [*criterion.named_buffers(recurse=False)]:
        criterion.register_buffer(name, buffer.to(torch.get_default_dtype()), persistent=False)
    return criterion


def number_loss(loss: Any) -> nn.Module:
    """Return a loss for numerical targets. A loss that is not torch's is not checked.

    Raises:
        UserError: If it is a loss of torch for other targets.
    """
    criterion = build_loss(loss)
    name, is_torchs = type(criterion).__name__, type(criterion).__module__.startswith("torch.nn")
    problems = {
        "is for classes; use it with --model Classification": isinstance(criterion, OF_CLASSES),
        f"takes other targets than numbers; use {', '.join(kind.__name__ for kind in NUMBERS)}": (
            is_torchs and not isinstance(criterion, NUMBERS)
        ),
        "log_input must be true, since the net computes the logarithm of a rate": (
            not getattr(criterion, "log_input", True)
        ),
    }
    _refuse(name, problems)
    return criterion


def _refuse(loss: str, problems: Mapping[str, bool]) -> None:
    if problem := next((problem for problem, occurs in problems.items() if occurs), None):
        raise UserError(f"--model.loss {loss}: {problem}")


def class_loss(loss: Any, classes: int) -> nn.Module:
    """Return a loss that takes logits and class indices.

    Raises:
        UserError: If the loss takes something else, or has weights for another number of classes.
    """
    criterion = build_loss(loss)
    weight = getattr(criterion, "weight", None)
    problems = {
        "does not take logits and class indices; use CrossEntropyLoss": not isinstance(criterion, CLASSES),
        f"weight must be {classes} numbers, one for each class": weight is not None and weight.shape != (classes,),
    }
    _refuse(type(criterion).__name__, problems)
    return criterion


def of_target_units(criterion: nn.Module) -> nn.Module:
    """Return the loss that compares predictions with targets; a Poisson loss then takes rates instead of logarithms."""
    if isinstance(criterion, nn.PoissonNLLLoss):
        return nn.PoissonNLLLoss(log_input=False, full=criterion.full, eps=criterion.eps)
    return criterion


def class_weights(criterion: nn.Module, targets: Tensor) -> Tensor | None:
    """Return the weights (rows,) whose sum is the divisor of a loss; None if the divisor is the number of rows.

    Cross-entropy divides by the sum of the class weights of the rows, without rows of the class `ignore_index`.
    """
    if not isinstance(criterion, nn.CrossEntropyLoss) or (criterion.weight is None and criterion.ignore_index < -1):
        return None
    counted = targets != criterion.ignore_index
    return counted if criterion.weight is None else criterion.weight[targets.clamp(min=0)] * counted


def row_losses(criterion: nn.Module, outputs: Tensor, targets: Tensor) -> Tensor:
    """Return the loss of each row, (rows,), times the weight of its class.

    Raises:
        UserError: If a loss that is not torch's ignores `reduction = "none"`.
    """
    by_row: Any = copy.copy(criterion)
    by_row.reduction = "none"
    losses = by_row(outputs, targets)  # (B,) for classes, (B, out_features) for numbers
    if losses.shape[:1] != targets.shape[:1]:
        problem = "must support reduction none, the loss of each row, for row weights; remove the weights"
        raise UserError(f"--model.loss {type(criterion).__name__}: {problem}")
    return losses.flatten(1).mean(1) if losses.ndim > 1 else losses


def mean_loss(
    criterion: nn.Module, outputs: Tensor, targets: Tensor, weights: Tensor | None = None, *, is_partial: bool = False
) -> Tensor:
    """Return the mean loss of rows, a scalar. Its mean over processes is the mean over the rows of all processes.

    Args:
        criterion: The loss.
        outputs: Shape (rows, out_features), in standard units.
        targets: Targets of the shape that the criterion takes.
        weights: Row weights, of any shape with one number per row.
        is_partial: Whether rows have been left out, so that processes may have different numbers of rows.
    """
    each = class_weights(criterion, targets)
    total = None if each is None else each.sum()
    if not len(targets):
        loss = 0 * outputs.sum()  # the mean of no rows would be NaN
    elif weights is None and total is None:
        loss = criterion(outputs, targets)
    else:
        losses = row_losses(criterion, outputs, targets) * (1 if weights is None else weights.flatten())
        loss = losses.mean() if total is None else losses.sum() / total.clamp(min=SMALLEST)
    if not (is_partial or total is not None):
        return loss
    return over_processes(loss, len(targets) if total is None else total)


def over_processes(loss: Tensor, rows: Tensor | int) -> Tensor:
    """Scale the mean loss of a process so that the mean over processes is the mean over the rows of all processes."""
    if not (dist.is_available() and dist.is_initialized()):
        return loss
    own = torch.as_tensor(rows, dtype=torch.float64, device=loss.device)
    total = own.clone()
    dist.all_reduce(total)
    return loss * (own / total.clamp(min=SMALLEST) * dist.get_world_size()).to(loss.dtype)
