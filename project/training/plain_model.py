"""What the training command does with a LightningModule that was written without this project."""

import inspect
import pkgutil
from typing import Any

from jsonargparse import Namespace
from lightning.pytorch import LightningModule
from lightning.pytorch.cli import instantiate_class
from lightning.pytorch.utilities.model_helpers import is_overridden

from project.models.optimization import configure
from project.models.supervised import Supervised


def has_own_optimizer(class_path: str) -> bool:
    """Whether the class of a model has a `configure_optimizers` of its own, and no argument for the optimizer."""
    model_class: Any = pkgutil.resolve_name(class_path)
    own = getattr(model_class, "configure_optimizers", None) is not LightningModule.configure_optimizers
    return own and not (isinstance(model_class, type) and issubclass(model_class, Supervised))


def takes_shape(class_path: str) -> bool:
    """Whether the class of a model has an argument for the shape of a row."""
    return "in_shape" in inspect.signature(pkgutil.resolve_name(class_path)).parameters


def use_optimizer(model: LightningModule, config: Namespace) -> None:
    """Let a model use the optimizer and the scheduler of a configuration, if it has any for the model."""
    if isinstance(model, Supervised) or config.optimizer is None:
        return

    def optimizer(parameters: Any) -> Any:
        return instantiate_class(parameters, config.optimizer)

    def scheduler(built: Any) -> Any:
        return instantiate_class(built, config.lr_scheduler)

    def configure_optimizers() -> Any:
        return configure(model, optimizer, scheduler if config.lr_scheduler else None, "epoch")

    model.configure_optimizers = configure_optimizers  # type: ignore[method-assign]


def purposes_of_net(config: Namespace) -> list[str]:
    """Return the flags of a configuration that need the network of a model of this project."""
    flags = {
        "--weights.path": config.weights.path,
        "--finetuning": config.finetuning.freeze or config.finetuning.layer_decay != 1,
        "--pruning.sparsity": config.pruning.sparsity,
    }
    return [flag for flag, value in flags.items() if value]


def can_test(model: LightningModule) -> bool:
    """Whether a model has a `test_step`."""
    return is_overridden("test_step", model, LightningModule)
