"""What a network is to the rest of the project."""

from torch import nn


class Net(nn.Module):
    """A network from rows of one shape to a number of outputs; subclass it to pick yours with `--model.net NAME`.

    Args:
        in_shape: Shape of one row of x: (features,), (time, channels) or (channels, height, width).
        out_features: Number of outputs.
    """

    def __init__(self, in_shape: tuple[int, ...], out_features: int) -> None:
        super().__init__()
        self.in_shape, self.out_features = tuple(in_shape), out_features
