"""Losses: built from settings, and averaged over the rows of all processes."""

import copy
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from project.models.hyperparameters import factory
from project.runtime.errors import UserError

NUMBERS = (nn.MSELoss, nn.L1Loss, nn.SmoothL1Loss, nn.HuberLoss, nn.PoissonNLLLoss)
CLASSES = (nn.CrossEntropyLoss, nn.MultiMarginLoss)
SMALLEST = 1e-30  # in place of a sum of weights that is 0
# Of torch's losses for classes, the ones that people try with numbers.
OF_CLASSES = (*CLASSES, nn.NLLLoss, nn.BCELoss, nn.BCEWithLogitsLoss)


def build_loss(loss: Any) -> nn.Module:
    """Return the loss that a class, a partial of one, or plain data describes; its class weights are not saved."""
    criterion: nn.Module = factory(loss)()
    for name, buffer in [*criterion.named_buffers(recurse=False)]:
        criterion.register_buffer(name, buffer.to(torch.get_default_dtype()), persistent=False)
    return criterion


def number_loss(loss: Any) -> nn.Module:
    """Return a loss for targets that are numbers; a UserError is raised for others of torch's.

    A loss from outside of torch is taken as it is.
    """
    criterion = build_loss(loss)
    name, is_torchs = type(criterion).__name__, type(criterion).__module__.startswith("torch.nn")
    problems = {
        "is for classes; use it with --model Classification": isinstance(criterion, OF_CLASSES),
        f"takes other targets than numbers; use {', '.join(kind.__name__ for kind in NUMBERS)}": (
            is_torchs and not isinstance(criterion, NUMBERS)
        ),
        "log_input must be true: the net answers the logarithm of a rate": not getattr(criterion, "log_input", True),
    }
    if problem := next((problem for problem, occurs in problems.items() if occurs), None):
        raise UserError(f"--model.loss {name}: {problem}")
    return criterion


def class_loss(loss: Any, classes: int) -> nn.Module:
    """Return a loss of logits and class numbers; a UserError is raised for others, and for weights of other classes."""
    criterion = build_loss(loss)
    if not isinstance(criterion, CLASSES):
        name = type(criterion).__name__
        raise UserError(f"--model.loss {name}: does not take logits and class numbers; use CrossEntropyLoss")
    if criterion.weight is not None and criterion.weight.shape != (classes,):
        raise UserError(f"--model.loss.weight: must be {classes} numbers, one for each class")
    return criterion


def of_target_units(criterion: nn.Module) -> nn.Module:
    """Return the loss that compares predictions with targets: those of a Poisson loss are rates, not logarithms."""
    if isinstance(criterion, nn.PoissonNLLLoss):
        return nn.PoissonNLLLoss(log_input=False, full=criterion.full, eps=criterion.eps)
    return criterion


def total_weight(criterion: nn.Module, targets: Tensor) -> Tensor | None:
    """Return the sum of the row weights by which a loss divides, a scalar; None for the number of rows.

    Cross-entropy divides by the weights of the classes that occur, and leaves out the rows of one class.
    """
    if not isinstance(criterion, nn.CrossEntropyLoss) or (criterion.weight is None and criterion.ignore_index < -1):
        return None
    counted = targets != criterion.ignore_index
    if criterion.weight is None:
        return counted.sum()
    return (criterion.weight[targets.clamp(min=0)] * counted).sum()


def mean_loss(
    criterion: nn.Module, outputs: Tensor, targets: Tensor, weights: Tensor | None = None, *, is_partial: bool = False
) -> Tensor:
    """Return the mean loss of rows, a scalar whose mean over processes is that of the rows of all processes.

    Args:
        criterion: The loss.
        outputs: Shape (rows, out_features), in standard units.
        targets: Of the shape that the criterion takes.
        weights: Row weights, of any shape with one number per row.
        is_partial: Whether rows have been left out, perhaps more of them on one process than on another.
    """
    total = total_weight(criterion, targets)
    if not len(targets):
        loss = 0 * outputs.sum()  # the mean of no rows would be NaN
    elif weights is None and total is None:
        loss = criterion(outputs, targets)
    else:
        by_row: Any = copy.copy(criterion)
        by_row.reduction = "none"
        losses = by_row(outputs, targets)  # (B,) for classes, (B, out_features) for numbers
        losses = losses.reshape(len(losses), -1).mean(1) * (1 if weights is None else weights.flatten())
        loss = losses.mean() if total is None else losses.sum() / total.clamp(min=SMALLEST)
    if not (is_partial or total is not None):
        return loss
    return over_processes(loss, len(targets) if total is None else total)


def over_processes(loss: Tensor, rows: Tensor | int) -> Tensor:
    """Return the mean loss of this process's rows, scaled so that its mean over processes is that of all their rows."""
    if not (dist.is_available() and dist.is_initialized()):
        return loss
    own = torch.as_tensor(rows, dtype=torch.float64, device=loss.device)
    everyones = own.clone()
    dist.all_reduce(everyones)
    return loss * (own / everyones.clamp(min=SMALLEST) * dist.get_world_size()).to(loss.dtype)
