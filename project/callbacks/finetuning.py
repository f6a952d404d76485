"""What of a net is trained, and how fast: frozen parts, gradual unfreezing, rates by depth."""

from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import BaseFinetuning
from lightning.pytorch.strategies import DDPStrategy
from torch import nn
from torch.optim import Optimizer

from project.callbacks.pretrained import new_parameters
from project.models.supervised import Supervised
from project.nets.net import Net, within
from project.runtime.errors import UserError

BACKBONE = "backbone"


class Finetuning(BaseFinetuning):
    """Freezes parts of a net, thaws them from the head down, and lets deeper layers learn slower.

    Frozen batch norms keep their statistics and normalise by them, as in evaluation.

    Source: Howard & Ruder, "Universal Language Model Fine-tuning for Text Classification" (2018).

    Args:
        freeze: What is not trained: names of the net's modules, or `backbone`, which is all but the head.
        unfreeze_every: Thaw one more layer each time that so many epochs have passed; 0 thaws none.
        layer_decay: Factor on the learning rate from each layer to the one below it.

    Attributes:
        anew: Names of what starts anew, which is trained in any case; set by whoever knows.

    Raises:
        UserError: If a number is out of range.
    """

    def __init__(self, freeze: list[str] | None = None, unfreeze_every: int = 0, layer_decay: float = 1.0) -> None:
        super().__init__()
        if unfreeze_every < 0:
            raise UserError(f"--finetuning.unfreeze_every is {unfreeze_every}: give 0 or more epochs")
        if not 0 < layer_decay <= 1:
            raise UserError(f"--finetuning.layer_decay is {layer_decay}: give a number above 0, at most 1")
        if unfreeze_every and not freeze:
            raise UserError('--finetuning.unfreeze_every: nothing is frozen: give --finetuning.freeze "[backbone]"')
        self.anew: list[str] = []
        self.frozen, self.unfreeze_every, self.layer_decay = freeze or [], unfreeze_every, layer_decay
        self._first = True  # Lightning sets up again for the test
        self._layers: list[list[nn.Parameter]] = []  # from the head down
        self._thawed = 0

    def freeze_before_training(self, pl_module: LightningModule) -> None:
        """Freeze, before processes agree on what they share."""
        if not self.frozen or not isinstance(pl_module, Supervised):
            return
        net, (first, self._first) = pl_module.net.net, (self._first, False)
        names = frozen_names(net, self.frozen)
        anew = new_parameters(net, self.anew)
        parameters = dict(net.named_parameters())
        self._layers = [
            [parameters[name] for name in layer if within(name, names)] for layer in reversed(net.backbone_names())
        ]
        chosen = [name for name in parameters if within(name, names) and not within(name, anew)]
        if first and not any(parameters[name].requires_grad for name in chosen):
            name = type(net).__name__
            raise UserError(f"--finetuning.freeze {self.frozen}: {name} trains nothing there: leave it out")
        for name in chosen:
            parameters[name].requires_grad_(False)
        if not any(parameter.requires_grad for parameter in parameters.values()):
            raise UserError(f"--finetuning.freeze {self.frozen}: nothing is left to train: leave the head out")

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Thaw what is due, and keep frozen batch norms in evaluation mode."""
        before, self._thawed = self._thawed, trainer.current_epoch // self.unfreeze_every if self.unfreeze_every else 0
        super().on_train_epoch_start(trainer, pl_module)
        if before != self._thawed and isinstance(trainer.strategy, DDPStrategy):
            # Its buckets of gradients are those of the parameters that were trained when it was made.
            trainer.strategy.model = trainer.strategy.lightning_module
            trainer.strategy.configure_ddp()
        for module in pl_module.modules() if self.frozen else ():
            if isinstance(module, nn.modules.batchnorm._BatchNorm) and not all(
                parameter.requires_grad for parameter in module.parameters()
            ):
                module.eval()

    def finetune_function(self, pl_module: LightningModule, epoch: int, optimizer: Optimizer) -> None:
        """Thaw layers; the optimizer has them all from the start, so that schedules do."""
        for layer in self._layers[: self._thawed]:
            for parameter in layer:
                parameter.requires_grad_()


def frozen_names(net: Net, wanted: list[str]) -> list[str]:
    """Names of the modules and parameters that are frozen.

    Raises:
        UserError: If the net has none of a name.
    """
    known = [name for name, _ in (*net.named_modules(), *net.named_parameters()) if name]
    for name in wanted:
        if name != BACKBONE and name not in known:
            parts = ", ".join(name for name, child in net.named_children() if any(True for _ in child.parameters()))
            raise UserError(f"--finetuning.freeze {name}: {type(net).__name__} has none: give {BACKBONE}, {parts}")
    backbone = [name for layer in net.backbone_names() for name in layer]
    return [name for part in wanted for name in (backbone if part == BACKBONE else [part])]


def parameter_groups(model: Supervised, rate: float, decay: float) -> list[dict[str, Any]]:
    """Parameters by depth, each layer with a lower learning rate than the one above it.

    Args:
        model: Whose net's parameters they are.
        rate: Learning rate of the head.
        decay: Factor on it from layer to layer.
    """
    net = model.net.net
    parameters = dict(net.named_parameters())
    head = [name for name in parameters if within(name, net.head_names())]
    layers = [head, *reversed(net.backbone_names())]
    groups: list[dict[str, Any]] = []
    for depth, layer in enumerate(layers):
        factor = decay**depth
        group: list[torch.nn.Parameter] = [parameters[name] for name in layer]
        if group:
            groups.append({"params": group, "lr": rate * factor, "lr_factor": factor})
    return groups
