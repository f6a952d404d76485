"""What a network is to the rest of the project."""

from torch import nn

NORMS = (nn.modules.batchnorm._BatchNorm, nn.LayerNorm, nn.GroupNorm)


class Net(nn.Module):
    """A network from rows of one shape to a number of outputs; subclass it to pick yours with `--model.net NAME`.

    Args:
        in_shape: Shape of one row of x: (features,), (time, channels) or (channels, height, width).
        out_features: Number of outputs.
    """

    def __init__(self, in_shape: tuple[int, ...], out_features: int) -> None:
        super().__init__()
        self.in_shape, self.out_features = tuple(in_shape), out_features

    def accepts(self, shape: tuple[int, ...]) -> bool:
        """Whether rows of a shape can be computed; a net for sequences of any length overrides it."""
        return shape == self.in_shape

    def head_names(self) -> list[str]:
        """Names of the modules and parameters that belong to the outputs, and are new for other targets.

        `head` where there is one, else the last module that has parameters.
        """
        children = [name for name, child in self.named_children() if any(True for _ in child.parameters())]
        return ["head"] if "head" in children else children[-1:]

    def backbone_names(self) -> list[list[str]]:
        """Names of the modules and parameters between inputs and head, layer by layer; norms go with what is before."""
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
    """Whether a parameter's name is that of one of some modules or parameters, or lies in it."""
    return any(name == module or name.startswith(f"{module}.") for module in modules)


class SequenceNet(Net):
    """A net for sequences (time, channels) of any length, also other than those it was trained on.

    Args:
        in_shape: (time, channels).
        out_features: Number of outputs.

    Raises:
        ValueError: If rows are not sequences.
    """

    def __init__(self, in_shape: tuple[int, ...], out_features: int) -> None:
        if len(in_shape) != 2:
            raise ValueError(
                f"{type(self).__name__} takes sequences, rows of shape (time, channels), and not {tuple(in_shape)}: "
                "use it with --data SeriesDataModule, or pick --model.net MLP"
            )
        super().__init__(in_shape, out_features)

    def accepts(self, shape: tuple[int, ...]) -> bool:
        """Any length of at least 1, and the channels it was built for."""
        return len(shape) == 2 and shape[0] > 0 and shape[1] == self.in_shape[1]
