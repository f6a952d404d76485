"""Construction of optimizers and schedulers, with parameter groups by layer."""

from collections.abc import Mapping
from typing import Any, Literal

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import nn
from torch.optim import Optimizer

from project.nets.net import Net, within

Interval = Literal["epoch", "step"]


def optimizer_and_scheduler(
    module: nn.Module,
    optimizer: OptimizerCallable,
    scheduler: LRSchedulerCallable | None,
    interval: Interval,
    groups: list[dict[str, Any]] | None = None,
) -> OptimizerLRScheduler:
    """Build the optimizer and the scheduler of a module, in the form that `configure_optimizers` returns.

    Args:
        module: The module to train.
        optimizer: Builds an optimizer from parameters or parameter groups.
        scheduler: Builds a learning rate scheduler from an optimizer.
        interval: Whether the scheduler steps after each epoch or after each optimizer step.
        groups: Parameter groups of the module. Their `lr_factor` multiplies the optimizer's learning rate.
    """
    built = optimizer(groups or module.parameters())
    for group in built.param_groups:
        group["lr"] *= group.get("lr_factor", 1.0)
    if scheduler is None:
        return built
    schedule: Any = {"scheduler": scheduler(built), "interval": interval}
    if (monitor := getattr(schedule["scheduler"], "monitor", None)) is not None:  # Lightning's ReduceLROnPlateau
        schedule["monitor"] = monitor
    return {"optimizer": built, "lr_scheduler": schedule}


def parameter_groups(net: Net, layer_decay: float) -> list[dict[str, Any]] | None:
    """Return the parameter groups of a network; None if it has only one."""
    if layer_decay == 1 and not net.takes_tokens:
        return None
    groups = [{"params": [*net.parameters()]}] if layer_decay == 1 else groups_by_layer(net, layer_decay)
    return [part for group in groups for part in groups_by_kind(net, group)] if net.takes_tokens else groups


def groups_by_kind(net: Net, group: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Divide a parameter group of a language model into hidden matrices, embeddings and head, and vectors.

    Vectors, such as norms and biases, have no weight decay. The optimizer `MuonAdamW` reads the key `"muon"`.
    """
    outer = {id(module.weight) for module in net.modules() if isinstance(module, nn.Embedding)}
    outer |= {id(each) for name, each in net.named_parameters() if within(name, net.head_names())}
    matrices = [each for each in group["params"] if each.ndim > 1]
    parts = [
        {"params": [each for each in matrices if id(each) not in outer], "muon": True},
        {"params": [each for each in matrices if id(each) in outer], "muon": False},
        {"params": [each for each in group["params"] if each.ndim < 2], "muon": False, "weight_decay": 0.0},
    ]
    return [{**group, **part} for part in parts if part["params"]]


def groups_by_layer(net: Net, decay: float) -> list[dict[str, Any]]:
    """Return one parameter group per layer; `lr_factor` is 1 for the head, and decays with the distance from it."""
    parameters = dict(net.named_parameters())
    layers = [[name for name in parameters if within(name, net.head_names())], *reversed(net.backbone_names())]
    return [
        {"params": [parameters[name] for name in layer], "lr_factor": decay**depth}
        for depth, layer in enumerate(layers)
        if layer
    ]


def learning_rates(optimizer: Optimizer) -> dict[str, float]:
    """Return the learning rate of each parameter group, with the names of Lightning's `LearningRateMonitor`."""
    name, groups = f"lr-{type(optimizer).__name__}", optimizer.param_groups
    return {f"{name}/pg{k}" if len(groups) > 1 else name: float(g["lr"]) for k, g in enumerate(groups, start=1)}


def set_learning_rate(trainer: Trainer, rate: float) -> None:
    """Set the learning rate, times the `lr_factor` of a parameter group if it has one, also in the schedulers."""
    for optimizer in trainer.optimizers:
        for group in optimizer.param_groups:
            group["lr"] = group["initial_lr"] = rate * group.get("lr_factor", 1.0)
    for config in trainer.lr_scheduler_configs:
        config.scheduler.base_lrs = [group["initial_lr"] for group in config.scheduler.optimizer.param_groups]


def step_scheduler(module: LightningModule) -> None:
    """Step the scheduler after an epoch with manual optimization, where Lightning does not step it."""
    scheduler = module.lr_schedulers()
    if scheduler is not None and not module.automatic_optimization:
        scheduler.step()  # type: ignore[union-attr]
