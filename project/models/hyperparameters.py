"""Hyperparameters as plain data, so that checkpoints with them can be loaded with `weights_only=True`.

A class with or without some of its arguments becomes `{"class_path": …, "init_args": {…}}`, as in a configuration.
"""

import sys
from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from project.runtime.errors import UserError

PLAIN = (bool, int, float, str, type(None))
TENSOR = "torch.tensor"


def plain(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return hyperparameters as plain data, without those that cannot be converted, such as modules and lambdas."""
    return {
        name: value for name, value in ((name, _plain(value)) for name, value in values.items()) if value is not ...
    }


def called_by(value: Any) -> Any:
    """Return the class or function that a partial calls.

    The partials of jsonargparse call its own function, with the class as an argument.
    """
    if not isinstance(value, partial):
        return value
    return next((arg for arg in value.args if isinstance(arg, type)), value.func)


def _plain(value: Any) -> Any:
    """Return a value as plain data; an ellipsis if it cannot be converted."""
    if isinstance(value, PLAIN):
        return value
    if isinstance(value, Tensor):
        return {"class_path": TENSOR, "init_args": {"data": value.tolist()}}
    if isinstance(value, Mapping):
        return plain(value)
    if isinstance(value, list | tuple):
        items = [_plain(item) for item in value]
        return ... if ... in items else type(value)(items) if type(value) in (list, tuple) else items
    if isinstance(value, partial):
        described = _plain(called_by(value))
        return described if described is ... else described | {"init_args": plain(value.keywords)}
    name = getattr(value, "__qualname__", "<")
    return ... if "<" in name or not callable(value) else {"class_path": f"{value.__module__}.{name}"}


def factory(value: Any) -> Any:
    """Return the class, with its arguments, that plain data describes. Return any other value unchanged.

    Raises:
        UserError: If the module of the class has not been imported, because data must not import code.
    """
    if not isinstance(value, Mapping) or "class_path" not in value:
        return [factory(item) for item in value] if isinstance(value, list) else value
    if value["class_path"] == TENSOR:
        return torch.tensor(**value["init_args"])
    module, _, name = value["class_path"].rpartition(".")
    found = getattr(sys.modules.get(module), name, None)
    if not (isinstance(found, type) and issubclass(found, nn.Module | Optimizer | LRScheduler)):
        raise UserError(f"hyperparameters: {value['class_path']} is not an imported class; import it before loading")
    arguments = {key: factory(argument) for key, argument in value.get("init_args", {}).items()}
    return partial(found, **arguments) if arguments else found
