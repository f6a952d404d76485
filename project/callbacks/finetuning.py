"""Choose which parts of a net are trained and how fast: freezing, gradual unfreezing, learning rates by depth."""

from collections.abc import Iterator

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import BaseFinetuning
from lightning.pytorch.strategies import DDPStrategy
from torch import nn
from torch.optim import Optimizer

from project.callbacks.pretrained import reinitialized_names
from project.models.optimization import groups_by_layer
from project.models.supervised import Supervised
from project.nets.net import Net, within
from project.runtime.errors import UserError
from project.runtime.ranges import LeftOpenUnitInterval, NonNegativeInt

BACKBONE = "backbone"
TRACKING_NORMS = (nn.modules.batchnorm._BatchNorm, nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d)


class Finetuning(BaseFinetuning):
    """Freeze parts of a net, unfreeze its layers from the head down, and train deeper layers with lower learning rates.

    Batch norms of frozen layers keep their running statistics and normalise with them, as in evaluation.

    Source: Howard & Ruder, "Universal Language Model Fine-tuning for Text Classification" (2018).

    Args:
        freeze: Names of modules or parameters of the net to freeze, or `backbone` for everything but the head.
        unfreeze_every: Unfreeze one more layer each time this number of epochs has passed; 0 unfreezes none.
        layer_decay: Factor on the learning rate from each layer to the one below it.

    Attributes:
        reinitialized: Names of the parts with new weights, which are always trained; the command line sets it.
    """

    def __init__(
        self,
        freeze: list[str] | None = None,
        unfreeze_every: NonNegativeInt = 0,
        layer_decay: LeftOpenUnitInterval = 1.0,
    ) -> None:
        super().__init__()
        if unfreeze_every and not freeze:
            raise UserError('--finetuning.unfreeze_every: nothing is frozen; set --finetuning.freeze "[backbone]"')
        self.reinitialized: list[str] = []
        self.frozen, self.unfreeze_every, self.layer_decay = freeze or [], unfreeze_every, layer_decay
        self._is_first_setup = True  # Lightning calls `setup` again before the test
        self._layers: list[list[nn.Parameter]] = []  # frozen parameters by layer, from the head down
        self._unfrozen = 0  # number of layers unfrozen so far
        self._norms: dict[nn.Module, list[nn.Parameter]] = {}  # norms of frozen layers, with the layer's parameters

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Pass the factor of learning rates to the model, and freeze the chosen parts."""
        if isinstance(pl_module, Supervised) and self.layer_decay != 1:
            pl_module.layer_decay = self.layer_decay
            layers = [group["params"] for group in groups_by_layer(pl_module.net.net, self.layer_decay)]
            if self._is_first_setup and sum(any(p.requires_grad for p in layer) for layer in layers) < 2:
                raise UserError("--finetuning.layer_decay: has no effect if only one layer is trained; remove it")
        super().setup(trainer, pl_module, stage)

    def freeze_before_training(self, pl_module: LightningModule) -> None:
        """Freeze the chosen parts; Lightning calls this before DDP registers the parameters."""
        if not self.frozen or not isinstance(pl_module, Supervised):
            return
        net, (first, self._is_first_setup) = pl_module.net.net, (self._is_first_setup, False)
        names = frozen_names(net, self.frozen)
        reinitialized = reinitialized_names(net, self.reinitialized)
        parameters = dict(net.named_parameters())
        self._layers = [
            [parameters[name] for name in layer if within(name, names)] for layer in reversed(net.backbone_names())
        ]
        chosen = [p for name, p in parameters.items() if within(name, names) and not within(name, reinitialized)]
        if first and not any(parameter.requires_grad for parameter in chosen):
            name = type(net).__name__
            raise UserError(f"--finetuning.freeze {self.frozen}: {name} has no trainable parameters there; remove it")
        for parameter in chosen:
            parameter.requires_grad_(False)
        self._norms = self._norms or {norm: layer for norm, layer in tracking_norms(net) if not _is_trained(layer)}
        if not any(parameter.requires_grad for parameter in parameters.values()):
            raise UserError(f"--finetuning.freeze {self.frozen}: nothing is left to train; do not freeze the head")

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Unfreeze the layers that a run which is resumed within an epoch had unfrozen."""
        self._unfreeze(trainer, pl_module)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Unfreeze the layers for which it is time."""
        self._unfreeze(trainer, pl_module)

    def _unfreeze(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not self.frozen or not isinstance(pl_module, Supervised):
            return
        before = self._unfrozen
        self._unfrozen = trainer.current_epoch // self.unfreeze_every if self.unfreeze_every else 0
        for layer in self._layers[: self._unfrozen]:
            for parameter in layer:
                parameter.requires_grad_()
        if before != self._unfrozen and isinstance(trainer.strategy, DDPStrategy):
            # DDP has buckets only for the parameters that required gradients when it was built, so it is built again.
            trainer.strategy.model = trainer.strategy.lightning_module
            trainer.strategy.configure_ddp()
        for norm, layer in self._norms.items():
            norm.train(_is_trained(layer))

    def finetune_function(self, pl_module: LightningModule, epoch: int, optimizer: Optimizer) -> None:
        """Change nothing: the optimizer has all parameters from the start, so that schedulers apply to all of them."""


def tracking_norms(net: Net) -> Iterator[tuple[nn.Module, list[nn.Parameter]]]:
    """Yield norms with running statistics, each with its parameters, or those of the previous layer if it has none."""
    layer: list[nn.Parameter] = []
    for module in net.modules():
        layer = [*module.parameters(recurse=False)] or layer
        if isinstance(module, TRACKING_NORMS) and module.training:
            yield module, layer


def _is_trained(layer: list[nn.Parameter]) -> bool:
    return all(parameter.requires_grad for parameter in layer)


def frozen_names(net: Net, wanted: list[str]) -> list[str]:
    """Return the names of the modules and parameters to freeze, with `backbone` replaced by its parts."""
    known = [name for name, _ in (*net.named_modules(), *net.named_parameters()) if name]
    for name in wanted:
        if name != BACKBONE and name not in known:
            parts = ", ".join([BACKBONE, *(name for name, child in net.named_children() if [*child.parameters()])])
            raise UserError(f"--finetuning.freeze: {type(net).__name__} has no part {name!r}; use one of {parts}")
    backbone = [name for layer in net.backbone_names() for name in layer]
    return [name for part in wanted for name in (backbone if part == BACKBONE else [part])]
