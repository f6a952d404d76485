"""Base class of all networks, and the type of functions that build a network."""

from abc import ABC
from collections.abc import Mapping
from typing import Any, ClassVar, Protocol

from torch import nn

NORMS = (nn.modules.batchnorm._BatchNorm, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm)


class Module(ABC):  # noqa: B024 (it is only used as a type)
    """The type of any `torch.nn.Module` in signatures.

    jsonargparse resolves short names among real subclasses. Only `Net` is one, so `Linear` is this project's class.
    """

    @classmethod
    def __subclasshook__(cls, subclass: type) -> bool:
        return issubclass(subclass, nn.Module) if cls is Module else NotImplemented


class NetFactory(Protocol):
    """A function that builds a network: a class, or a class with some arguments; see `project.nets.plain.build`."""

    def __call__(
        self, *, in_shape: tuple[int, ...], in_features: int, out_features: int, levels: list[int] | None
    ) -> Module:
        """Build the network. Each of the arguments is optional."""


class Net(nn.Module, Module):
    """Base class of all networks, which compute `out_features` outputs from rows of one shape.

    Subclass it, and select your network with `--model.net NAME`.

    Args:
        in_shape: Shape of one row of x: (features,), (time, channels) or (channels, height, width).
        out_features: Number of outputs.

    Attributes:
        takes_tokens: Whether rows are tokens (int64), which are not standardised.
        scales_inputs: Whether the network scales its inputs itself, so that rows are not standardised.
        default_training: Values of flags, such as the optimizer, the scheduler and the number of epochs, that training
            uses unless the command line sets them. None for the general defaults.

    Raises:
        ValueError: In subclasses, if the shape or another argument is invalid.
    """

    takes_tokens = False
    scales_inputs = False
    default_training: ClassVar[Mapping[str, Any] | None] = None

    def __init__(self, in_shape: tuple[int, ...], out_features: int) -> None:
        super().__init__()
        self.in_shape, self.out_features = tuple(in_shape), out_features

    def require(self, valid: bool, problem: str) -> None:
        """Raise a ValueError with the name of the network and the problem unless an argument is valid."""
        if not valid:
            raise ValueError(f"{type(self).__name__}: {problem}")

    def accepts(self, shape: tuple[int, ...]) -> bool:
        """Whether the network accepts rows of a shape. Nets for sequences of any length override this method."""
        return shape == self.in_shape

    def head_names(self) -> list[str]:
        """Return the names of the modules and parameters to reinitialise for other targets.

        By default `head`, or the last module with parameters if there is no `head`.
        """
        children = [name for name, child in self.named_children() if [*child.parameters()]]
        return ["head"] if "head" in children else children[-1:]

    def backbone_names(self) -> list[list[str]]:
        """Return the names of parameters before the head, one list per layer; norms belong to the layer before."""
        layers: list[list[str]] = []
        for name, module in self.named_modules():
            own = [f"{name}.{part}".lstrip(".") for part, _ in module.named_parameters(recurse=False)]
            own = [part for part in own if not within(part, self.head_names())]
            if isinstance(module, NORMS) and layers:
                layers[-1] += own
            elif own:
                layers.append(own)
        return layers


def within(name: str, modules: list[str]) -> bool:
    """Whether a parameter is in a list of names of modules and parameters, or in one of these modules."""
    return any(name == module or name.startswith(f"{module}.") for module in modules)


def as_key(name: str) -> str:
    """Convert the name of a parameter to a key of a `ParameterDict`, which must not contain dots."""
    return name.replace(".", "/")


class SequenceNet(Net):
    """Base class of networks for sequences (time, channels) of any length, including lengths not seen in training."""

    def __init__(self, in_shape: tuple[int, ...], out_features: int) -> None:
        fix = "use --data SeriesDataModule or --model.net MLP"
        problem = f"rows must be sequences (time, channels), got shape {tuple(in_shape)}; {fix}"
        self.require(len(in_shape) == 2, problem)
        super().__init__(in_shape, out_features)

    def accepts(self, shape: tuple[int, ...]) -> bool:
        """Whether a shape has at least one time step, and as many channels as the network was built for."""
        return len(shape) == 2 and shape[0] > 0 and shape[1] == self.in_shape[1]
