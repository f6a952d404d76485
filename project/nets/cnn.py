"""Convolutional network for images of any size."""

from torch import Tensor, nn

from project.nets.net import Net


class CNN(Net):
    """Blocks of convolution, batch norm, ReLU and max pooling, then a classifier over what is left.

    Each block halves height and width, rounding up, so that images of any size down to a single pixel pass.

    Args:
        in_shape: (channels, height, width).
        out_features: Number of outputs.
        channels: Output channels of each block.
        hidden: Width of the linear layer before the head.
        dropout: Part of the values dropped in training, before the head.

    Raises:
        ValueError: If rows are not images, or a size is below 1; in training, if a batch is one row whose map has
            shrunk to one pixel.
    """

    def __init__(
        self,
        in_shape: tuple[int, ...],
        out_features: int,
        channels: list[int] | None = None,
        hidden: int = 128,
        dropout: float = 0.3,
    ) -> None:
        if len(in_shape) != 3:
            raise ValueError(
                f"CNN takes images, rows of shape (channels, height, width), and not {tuple(in_shape)}: "
                "use it with --data DigitsDataModule, or pick --model.net MLP"
            )
        super().__init__(in_shape, out_features)
        channels = [32, 64] if channels is None else channels
        if min(*channels, hidden, 1) < 1 or not 0 <= dropout < 1:
            raise ValueError(
                f"CNN: channels {channels} and hidden {hidden} must be 1 or more, dropout {dropout} in [0, 1)"
            )
        depth, height, width = in_shape
        blocks: list[nn.Module] = []
        self.one_pixel = False
        for following in channels:
            blocks += [
                nn.Conv2d(depth, following, kernel_size=3, padding=1, bias=False),
                nn.BatchNorm2d(following),
                nn.ReLU(),
                nn.MaxPool2d(2, ceil_mode=True),
            ]
            self.one_pixel = height * width == 1  # where the last batch norm sees it
            depth, height, width = following, (height + 1) // 2, (width + 1) // 2
        self.blocks = nn.Sequential(*blocks)
        self.layers = nn.Sequential(
            nn.Flatten(), nn.Linear(depth * height * width, hidden), nn.ReLU(), nn.Dropout(dropout)
        )
        self.head = nn.Linear(hidden, out_features)

    def forward(self, x: Tensor) -> Tensor:
        """(B, channels, height, width) -> (B, out_features)."""
        if self.training and len(x) == 1 and self.one_pixel:
            raise ValueError(
                "CNN: batch norm cannot train on one value: a batch of one row is left, give another --data.batch_size"
            )
        x = self.blocks(x)  # (B, channels[-1], height / 2^blocks, width / 2^blocks)
        x = self.layers(x)  # (B, hidden)
        return self.head(x)  # (B, out)
