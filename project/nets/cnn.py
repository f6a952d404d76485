"""A convolutional network for images of any size."""

from torch import Tensor, nn

from project.nets.net import Net


class Residual(nn.Module):
    """A residual block: x plus two convolutions with batch norm, then ReLU.

    Source: He et al., "Deep Residual Learning for Image Recognition" (2015).
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, channels, kernel_size=3, padding=1, bias=False)
        self.first_norm = nn.BatchNorm2d(channels)
        self.second = nn.Conv2d(channels, channels, kernel_size=3, padding=1, bias=False)
        self.second_norm = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        """(B, channels, height, width) -> the same shape."""
        added = self.second_norm(self.second(self.first_norm(self.first(x)).relu()))
        return (x + added).relu()


class CNN(Net):
    """A convolutional network: blocks of convolution, batch norm, ReLU and max pooling, then two linear layers.

    Each block halves height and width, rounding up, so images may be as small as one pixel.

    Args:
        channels: Output channels of each block.
        hidden: Width of the linear layer before the head.
        dropout: Dropout probability before the head.
        residual: Number of residual blocks of two convolutions before each pooling.
    """

    def __init__(
        self,
        in_shape: tuple[int, ...],
        out_features: int,
        channels: list[int] | None = None,
        hidden: int = 128,
        dropout: float = 0.3,
        residual: int = 0,
    ) -> None:
        fix = "use --data DigitsDataModule or --model.net MLP"
        problem = f"rows must be images (channels, height, width), got shape {tuple(in_shape)}; {fix}"
        self.require(len(in_shape) == 3, problem)
        super().__init__(in_shape, out_features)
        channels = [32, 64] if channels is None else channels
        self.require(min(*channels, hidden, 1) > 0, f"channels {channels} and hidden {hidden} must be 1 or more")
        self.require(residual >= 0, f"residual must be 0 or more, got {residual}")
        self.require(0 <= dropout < 1, f"dropout must be in [0, 1), got {dropout}")
        depth, height, width = in_shape
        self.blocks, self.one_pixel = nn.Sequential(), False
        for out_channels in channels:
            convolution = nn.Conv2d(depth, out_channels, kernel_size=3, padding=1, bias=False)
            self.blocks.extend([convolution, nn.BatchNorm2d(out_channels), nn.ReLU()])
            self.blocks.extend(Residual(out_channels) for _ in range(residual))
            self.blocks.append(nn.MaxPool2d(2, ceil_mode=True))
            self.one_pixel = height * width == 1  # whether the last batch norm gets a single pixel
            depth, height, width = out_channels, (height + 1) // 2, (width + 1) // 2
        self.layers = nn.Sequential(
            nn.Flatten(), nn.Linear(depth * height * width, hidden), nn.ReLU(), nn.Dropout(dropout)
        )
        self.head = nn.Linear(hidden, out_features)

    def forward(self, x: Tensor) -> Tensor:
        """(B, channels, height, width) -> (B, out_features)."""
        problem = "batch norm cannot train on a batch of one row of one pixel; change --data.batch_size"
        self.require(not (self.training and len(x) == 1 and self.one_pixel), problem)
        x = self.layers(self.blocks(x))  # (B, channels[-1], height / 2^blocks, width / 2^blocks) -> (B, hidden)
        return self.head(x)  # (B, out)
