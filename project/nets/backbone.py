"""Networks of timm for images, with a new head and perhaps pretrained weights."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from project.nets.net import Net

INSTALL = 'run pip install -e ".[vision]", with the torchvision of the same build as torch'


class Backbone(Net):
    """A network of timm, from pixels from 0 to 255 to features, then a linear layer.

    The pixels are scaled as the pretrained weights need it, not by the training rows; grey images by the mean over the
    colours.

    Args:
        name: Name of the network in timm, such as `resnet18`.
        weights: A file of pretrained weights, `.pth` or `.safetensors`, with the names of timm, or with others in the
            same order; its last layer is left out. By default the weights are random.
        dropout: Dropout probability before the head.

    Raises:
        ValueError: If the rows are no images, timm cannot be imported or does not know the network, or the weights are
            those of another one.
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
        if len(in_shape) != 3 or not 0 <= dropout < 1:
            raise ValueError(
                f"Backbone: rows must be images (channels, height, width), got shape {tuple(in_shape)}, and dropout in "
                f"[0, 1), got {dropout}; use --data ImageDataModule"
            )
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
    """Return a network of timm without its last layer, (B, channels, *side) -> (B, num_features)."""
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
    """Copy pretrained weights into a network of timm; those of the last layer, which it does not have, are left out.

    The first layer of a network for other numbers of channels gets the sum over the colours, as timm does it.
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
            shapes = f"{name} has shape {tuple(found.shape)}, and the network's {tuple(value.shape)}"
            raise ValueError(f"Backbone: {path}: weights of another network: {shapes}")
        value.copy_(found)


def read(path: str) -> Mapping[str, Tensor]:
    """Return the weights in a file by name."""
    try:
        if path.endswith(".safetensors"):
            from safetensors.torch import load_file

            return load_file(path)
        found: Any = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # that of a file which is something else may be any
        raise ValueError(f"Backbone: {path}: cannot be read as weights, tensors by name") from error
    state = next((found[key] for key in ("state_dict", "model") if key in found), found)
    return {name.removeprefix("module."): value for name, value in state.items() if isinstance(value, Tensor)}


def in_order(state: Mapping[str, Tensor], own: Mapping[str, Tensor], path: str) -> dict[str, Tensor]:
    """Return weights under the names of a network, if the tensors agree with its own in order and in shape.

    Counters of batches, which are numbers, may be missing.
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
