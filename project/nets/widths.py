"""The widths of a net's layers, and the weights of each unit: neuron, channel, attention head or recurrent feature.

The weights of a unit are those that compute it (rows of a layer's weight, its bias, its batch norm) and those that use
it (columns of the next layer's weight).
"""

import itertools
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from project.nets.net import Net, within
from project.nets.transformer import Attention

PLAIN_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
NORMALISING = ("weight", "bias", "running_mean", "running_var")
RECURRENT = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")


class Slice(NamedTuple):
    """Position of units in the tensor `name` of a module."""

    module: nn.Module
    name: str
    dim: int  # along which units are counted
    indices: Tensor  # along this dimension, (units, indices per unit)


class Width(NamedTuple):
    """A width of a net: the number of units, and the positions of their weights."""

    units: int
    groups: list[list[Slice]]  # one; in recurrent layers, one for each layer and direction, all of the same size


def widths(net: Net) -> dict[str, Width]:
    """Return the widths that may be reducible, by the name of the layer that computes the units.

    This assumes that the next module with parameters, in the order of registration, uses the outputs of a layer; batch
    norms between the two belong to the first. `removable` checks this assumption.
    """
    found: dict[str, Width] = {}
    layers = list(_layers(net))
    for position, (name, layer) in enumerate(layers):
        if isinstance(layer, Attention):
            found[name] = Width(layer.heads, [_heads(layer)])
        elif not within(name, net.head_names()):
            width = _width(layer, [reader for _, reader in layers[position + 1 :]])
            found |= {name: width} if width else {}
    return found


def _layers(module: nn.Module, name: str = "") -> Iterator[tuple[str, nn.Module]]:
    """Yield the modules that have parameters or no children, in the order of registration."""
    children = [] if isinstance(module, Attention) else list(module.named_children())
    if not children or next(module.parameters(recurse=False), None) is not None:
        yield name, module
    for part, child in children:
        yield from _layers(child, f"{name}.{part}".lstrip("."))


def _width(layer: nn.Module, following: list[nn.Module]) -> Width | None:
    """Return the width of a layer; None if it is not clear which layer uses its outputs."""
    if isinstance(layer, nn.RNNBase) and not layer.proj_size:
        count, groups = layer.hidden_size, _features(layer)
    elif isinstance(layer, nn.Linear) or (isinstance(layer, PLAIN_CONVOLUTIONS) and layer.groups == 1):
        count = len(layer.weight)
        groups = [_slices(layer, ("weight", "bias"), torch.arange(count)[:, None])]
    else:
        return None
    for reader in following:
        if isinstance(reader, nn.modules.batchnorm._BatchNorm) and reader.num_features == count and len(groups) == 1:
            groups[0] += _slices(reader, NORMALISING, torch.arange(count)[:, None])
        elif next(reader.parameters(), None) is not None:
            return Width(count, groups) if _read(groups, count, layer, reader) else None
    return None


def _read(groups: list[list[Slice]], count: int, layer: nn.Module, reader: nn.Module) -> bool:
    """Add the weights that use the units to their groups. Return whether that was possible."""
    names = ["weight"] if isinstance(reader, (nn.Linear, *PLAIN_CONVOLUTIONS)) else []
    if isinstance(reader, nn.RNNBase):
        names = ["weight_ih_l0", "weight_ih_l0_reverse"][: 1 + reader.bidirectional]
    last = groups[-2:] if isinstance(layer, nn.RNNBase) and layer.bidirectional else groups[-1:]
    size = getattr(reader, names[0]).shape[1] if names else 0
    each = size // (len(last) * count)  # more than 1 if feature maps were flattened
    if getattr(reader, "groups", 1) != 1 or not each or each * len(last) * count != size:
        return False
    for start, group in enumerate(last):
        group += _slices(reader, names, start * count * each + torch.arange(count * each).view(count, each), dim=1)
    return True


def _slices(module: nn.Module, names: Sequence[str], indices: Tensor, dim: int = 0) -> list[Slice]:
    return [Slice(module, name, dim, indices) for name in names if getattr(module, name, None) is not None]


def _heads(layer: Attention) -> list[Slice]:
    indices = torch.arange(layer.query.out_features).view(layer.heads, -1)
    rows = [_slices(part, ("weight", "bias"), indices) for part in (layer.query, layer.key, layer.value)]
    return [*itertools.chain(*rows), Slice(layer.out, "weight", 1, indices)]


def _features(layer: nn.RNNBase) -> list[list[Slice]]:
    """Return, for each layer and direction, the weights of a unit's gates and those that use the unit."""
    count, ends = layer.hidden_size, ["", "_reverse"][: 1 + layer.bidirectional]
    groups: list[list[Slice]] = []
    for depth in range(layer.num_layers):
        for direction, end in enumerate(ends):
            own, unit = f"l{depth}{end}", torch.arange(count)[:, None]
            gates = torch.arange(len(getattr(layer, f"weight_hh_{own}"))).view(-1, count).T  # (units, gates)
            above = [f"weight_ih_l{depth + 1}{other}" for other in ends]
            groups.append(
                [
                    *_slices(layer, [f"{kind}_{own}" for kind in RECURRENT], gates),
                    *_slices(layer, [f"weight_hh_{own}"], unit, dim=1),
                    *_slices(layer, above, direction * count + unit, dim=1),
                ]
            )
    return groups
