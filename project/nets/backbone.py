"""Image networks of timm with a new head and optional pretrained weights."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from project.nets.net import Net

INSTALL = 'run pip install -e ".[vision]", with the torchvision of the same build as torch'


class Backbone(Net):
    """A network of timm that computes features of pixels from 0 to 255, then a linear layer.

    Pixels are scaled with the mean and standard deviation that the pretrained weights need, not with those of the
    training rows. For grey images, these are averaged over the colours.

    Args:
        name: Name of the network in timm, such as `resnet18`.
        weights: A file of pretrained weights, `.pth` or `.safetensors`. The tensors have timm's names, or other names
            in the same order. Its last layer is ignored. By default the weights are random.
        dropout: Dropout probability before the head.

    Raises:
        ValueError: If the rows are not images, timm cannot be imported or does not have the network, or the weights
            belong to another network.
    """

    mean: Tensor
    std: Tensor
    scales_inputs = True

    def __init__(
        self,
        in_shape: tuple[int, ...],
        out_features: int,
        name: str = "resnet18",
        weights: str | None = None,
        dropout: float = 0.0,
    ) -> None:
        super().__init__(in_shape, out_features)
        problem = f"rows must be images (channels, height, width), got shape {tuple(in_shape)}"
        self.require(len(in_shape) == 3, f"{problem}; use --data ImageDataModule")
        self.require(0 <= dropout < 1, f"dropout must be in [0, 1), got {dropout}")
        channels, height, width = in_shape
        body = create(name, channels, (height, width))
        self.body = body
        if weights is not None:
            load(body, weights, channels)
        scales = {part: torch.tensor(body.pretrained_cfg[part]).float() for part in ("mean", "std")}
        for part, values in scales.items():
            values = values.mean(0, keepdim=True).expand(channels) if channels != len(values) else values
            self.register_buffer(part, 255 * values.view(-1, 1, 1), persistent=False)
        self.head = nn.Linear(body.num_features, out_features)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """(B, channels, height, width) -> (B, out_features)."""
        return self.head(self.dropout(self.body((x - self.mean) / self.std)))


def create(name: str, channels: int, side: tuple[int, int]) -> Any:
    """Return a network of timm without its last layer, (B, channels, *side) -> (B, num_features).

    Raises:
        ValueError: If timm cannot be imported or does not have the network.
    """
    try:
        import timm
    except (ImportError, RuntimeError) as error:  # torch raises a RuntimeError for a torchvision of another build
        raise ValueError(f"Backbone: timm cannot be imported ({str(error).splitlines()[0]}); {INSTALL}") from error
    if not timm.is_model(name):
        similar = ", ".join(timm.list_models(f"*{name[:6]}*")[:5])
        raise ValueError(f"Backbone: timm has no network {name!r}{f'; similar are {similar}' if similar else ''}")
    known = timm.models.get_pretrained_cfg(name)
    fixed: dict[str, Any] = {"img_size": side} if known is not None and known.fixed_input_size else {}
    return timm.create_model(name, pretrained=False, num_classes=0, in_chans=channels, **fixed)


def load(body: nn.Module, path: str, channels: int) -> None:
    """Copy pretrained weights into a network of timm without its last layer.

    For another number of channels, the weights of the first layer are adapted by timm, which sums over the colours.

    Raises:
        ValueError: If the weights belong to another network.
    """
    from timm.models import adapt_input_conv

    state, own = read(path), body.state_dict()
    if not own.keys() <= state.keys():
        state = in_order(state, own, path)
    for name, value in own.items():
        found = state[name]
        if found.ndim == 4 and found.shape != value.shape and found.shape[1] == 3 and value.shape[1] == channels:
            found = adapt_input_conv(channels, found)
        if found.shape != value.shape:
            shapes = f"{name} has shape {tuple(found.shape)}, expected {tuple(value.shape)}"
            raise ValueError(f"Backbone: {path}: weights of another network: {shapes}")
        value.copy_(found)


def read(path: str) -> Mapping[str, Tensor]:
    """Return the weights in a file, by name.

    Raises:
        ValueError: If the file has no tensors by name.
    """
    try:
        if path.endswith(".safetensors"):
            from safetensors.torch import load_file

            return load_file(path)
        found: Any = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a file of another format may raise any exception
        raise ValueError(f"Backbone: {path}: cannot be read as weights, tensors by name") from error
    state = next((found[key] for key in ("state_dict", "model") if key in found), found)
    return {name.removeprefix("module."): value for name, value in state.items() if isinstance(value, Tensor)}


def in_order(state: Mapping[str, Tensor], own: Mapping[str, Tensor], path: str) -> dict[str, Tensor]:
    """Return weights with the names of a network if their order and shapes are the same.

    Scalars, such as the batch counters of batch norms, may be missing.

    Raises:
        ValueError: If they are not the same.
    """
    found = [value for value in state.values() if value.ndim]
    names = [name for name, value in own.items() if value.ndim]
    agree = len(found) >= len(names) and all(
        value.shape[:1] + value.shape[2:] == own[name].shape[:1] + own[name].shape[2:]
        for name, value in zip(names, found, strict=False)
    )
    if not agree:
        missing = next(name for name in own if name not in state)
        raise ValueError(f"Backbone: {path}: weights of another network: {missing} is missing")
    return {**own, **dict(zip(names, found, strict=False))}
