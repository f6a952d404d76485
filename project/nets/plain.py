"""Networks of any class: building them with the sizes of the data, and wrapping other modules in a `Net`."""

import inspect
import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, cast

from torch import Tensor, nn

from project.nets.net import Net, NetFactory


class PlainNet(Net):
    """A wrapper that makes a `Net` of another module.

    Args:
        module: A module that computes outputs (B, out_features) from x (B, *in_shape).
        in_shape: Shape of one row of x.
        out_features: Number of outputs.
    """

    def __init__(self, module: nn.Module, in_shape: tuple[int, ...], out_features: int) -> None:
        super().__init__(in_shape, out_features)
        self.module = module

    def forward(self, x: Tensor) -> Tensor:
        """(B, *in_shape) -> what the module returns."""
        return self.module(x)

    def head_names(self) -> list[str]:
        """Return the module's `head`, or its last child with parameters; the module itself if it has none."""
        children = [name for name, child in self.module.named_children() if [*child.parameters()]]
        head = "head" if "head" in children else children[-1] if children else None
        return [f"module.{head}" if head else "module"]


def build(
    net: NetFactory | nn.Module, in_shape: tuple[int, ...], out_features: int, levels: Sequence[int] | None = None
) -> Net:
    """Return a network for rows of a shape.

    Args:
        net: A module or a callable that returns a module: a class, a `functools.partial` of a class, or a function. Of
            the arguments `in_shape`, `in_features` (the number of values in a row), `out_features` and, for a table
            with categories, `levels`, a callable gets those that are in its signature. If a function has none of them,
            but takes two arguments, it gets the shape and the number of outputs.
        in_shape: Shape of one row of x.
        out_features: Number of outputs.
        levels: For each column of a table, the number of levels if it is a category, otherwise 0. A category of K
            levels has K - 1 values in a row; see `OneHot`.

    Raises:
        TypeError: If the callable does not return a module.
    """
    module = net if isinstance(net, nn.Module) else _call(cast(Callable[..., Any], net), in_shape, out_features, levels)
    if not isinstance(module, nn.Module):
        raise TypeError(f"the net must be a torch.nn.Module, got {type(module).__name__}")
    return module if isinstance(module, Net) else PlainNet(module, tuple(in_shape), out_features)


def _call(net: Callable[..., Any], in_shape: tuple[int, ...], out_features: int, levels: Sequence[int] | None) -> Any:
    sizes: dict[str, Any] = {"in_shape": tuple(in_shape), "in_features": math.prod(in_shape)}
    sizes |= {"out_features": out_features} | ({"levels": list(levels)} if levels else {})
    called, given = net, {}
    if isinstance(net, partial):  # its function is the class, or jsonargparse's function with the class as an argument
        called, given = next((arg for arg in net.args if isinstance(arg, type)), net.func), net.keywords
    parameters = inspect.signature(called).parameters
    named = {name: size for name, size in sizes.items() if name in parameters and name not in given}
    if named or given.keys() & sizes.keys():
        return net(**named)
    if isinstance(called, type) and issubclass(called, Net):  # its signature has **kwargs that it passes on
        return net(in_shape=tuple(in_shape), out_features=out_features)
    try:
        inspect.signature(called).bind(in_shape, out_features)
    except TypeError:
        return net()
    return net(tuple(in_shape), out_features) if not isinstance(called, type) else net()
