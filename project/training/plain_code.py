"""Train models and data modules that were written without this project."""

import inspect
import pkgutil
from collections.abc import Callable, Mapping
from typing import Any

from jsonargparse import Namespace
from lightning.pytorch import LightningDataModule, LightningModule, Trainer
from lightning.pytorch.cli import instantiate_class
from lightning.pytorch.utilities.model_helpers import is_overridden

from project.config.flag_errors import construct
from project.data.datamodule import RowsDataModule
from project.data.plain import PlainDataModule
from project.data.sampling import Sampling
from project.models.hyperparameters import plain
from project.models.optimization import optimizer_and_scheduler
from project.models.supervised import Supervised
from project.runs.weights import use_schema
from project.runtime.errors import UserError


def has_own_optimizer(class_path: str) -> bool:
    """Whether the class of a model has a `configure_optimizers` of its own, and no argument for the optimizer."""
    model_class: Any = pkgutil.resolve_name(class_path)
    own = getattr(model_class, "configure_optimizers", None) is not LightningModule.configure_optimizers
    return own and not (isinstance(model_class, type) and issubclass(model_class, Supervised))


def takes_shape(class_path: str) -> bool:
    """Whether the class of a model has an argument for the shape of a row."""
    return "in_shape" in inspect.signature(pkgutil.resolve_name(class_path)).parameters


def data_instantiator(
    config: Namespace, facts: Mapping[str, Any]
) -> tuple[Callable[..., LightningDataModule], type, bool]:
    """Return an instantiator of the parser for data modules, which wraps those from outside the project.

    `facts` describe the data of another run if the rows are read with its schema; otherwise they are empty.
    """

    def build(data_class: type[LightningDataModule], *args: Any, **kwargs: Any) -> LightningDataModule:
        data, sampling = construct(data_class, *args, **kwargs), Sampling(**config.sampling)
        if isinstance(data, RowsDataModule):
            data.sampling = sampling  # before the model asks for the shape of the rows
            use_schema(data, facts)
            return data
        if sampling.is_active:
            raise UserError(f"--data {data_class.__name__}: --sampling needs a data module of this project")
        plain = PlainDataModule(data, int(config.seed_everything or 0))
        if takes_shape(config.model.class_path):
            _ = plain.in_shape, plain.out_features  # here, because the parser's error would not name the cause
        return plain

    return build, LightningDataModule, True


def default_optimizer(class_path: str) -> dict[str, Any] | None:
    """Return the optimizer that the class of a model names as its own default; None for that of the command line."""
    parameter = inspect.signature(pkgutil.resolve_name(class_path)).parameters.get("optimizer")
    return plain({"optimizer": parameter.default})["optimizer"] if parameter is not None else None


def use_optimizer(model: LightningModule, config: Namespace) -> None:
    """Let a model from outside the project use the optimizer and the scheduler of a configuration, if there are any.

    Raises:
        UserError: If there is a scheduler, but the model has an optimizer of its own.
    """
    if isinstance(model, Supervised):
        return
    if config.optimizer is None:
        if config.lr_scheduler is not None:
            problem = f"{type(model).__name__} has an optimizer of its own; set --optimizer, too"
            raise UserError(f"--lr_scheduler: {problem}")
        return

    def optimizer(parameters: Any) -> Any:
        return instantiate_class(parameters, config.optimizer)

    def scheduler(built: Any) -> Any:
        return instantiate_class(built, config.lr_scheduler)

    def configure_optimizers() -> Any:
        return optimizer_and_scheduler(model, optimizer, scheduler if config.lr_scheduler else None, "epoch")

    model.configure_optimizers = configure_optimizers  # type: ignore[method-assign]


def flags_for_net(config: Namespace) -> list[str]:
    """Return the flags in use that act on the `net` or the loss of a model of this project."""
    is_own = issubclass(pkgutil.resolve_name(config.data.class_path), RowsDataModule)
    flags = {
        "--data.weights": is_own and config.data.init_args.get("weights"),
        "--weights.path": config.weights.path,
        "--finetuning": config.finetuning.freeze or config.finetuning.layer_decay != 1,
        "--pruning.sparsity": config.pruning.sparsity,
    }
    return [flag for flag, value in flags.items() if value]


def test_metrics(trainer: Trainer, model: LightningModule, data: LightningDataModule) -> dict[str, float]:
    """Test a model, and return its metrics with names `test/…`; none if it has no `test_step`, or logs nothing there.

    Metrics that a model from outside the project logs as `test_acc` or `acc` become `test/acc`.
    """
    if not is_overridden("test_step", model, LightningModule):
        return {}
    [logged] = trainer.test(model, data, verbose=False) or [{}]
    metrics: dict[str, float] = {}
    for name, value in logged.items():
        short = f"test/{name.removeprefix('test').lstrip('_/')}"
        metrics[f"test/{name}" if short in metrics else short] = value
    metrics.pop("test/step", None)  # not a metric, but the step of the loggers
    return metrics
