"""Nets with fewer units: neurons, channels, attention heads, features of a recurrence.

With a unit goes all that computes it (rows of a layer's weights, its bias, its batch norm) and all that reads it
(columns of the next layer's weights). Which layer reads which is taken from the order of a net's modules, as far as only
activations, dropout, pooling and batch norms lie between, and then proven by numbers.
"""

import copy
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn

from project.nets.net import Net, within
from project.nets.transformer import Attention

PLAIN_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
CHECKED_ROWS = 3


class Slice(NamedTuple):
    """Where units lie in a tensor.

    Attributes:
        module: Whose tensor it is.
        name: Its name there.
        dim: Along which dimension.
        places: Indices along it, (units, indices of each).
    """

    module: nn.Module
    name: str
    dim: int
    places: Tensor


class Width(NamedTuple):
    """A size within a net.

    Attributes:
        units: How many.
        groups: Where they lie. A recurrence has a group for each layer and direction, all of one size.
    """

    units: int
    groups: list[list[Slice]]


class Pruned(Net):
    """A net with fewer units than its arguments say: not a net of its own, but what gives one.

    Args:
        in_shape: Shape of one row of x.
        out_features: Number of outputs.
        net: The net before.
        widths: How many units are left, by the name of the layer that computes them.

    Raises:
        ValueError: If the net has no such layer, or not so many units.
    """

    def __new__(  # type: ignore[misc]
        cls,
        in_shape: tuple[int, ...],
        out_features: int,
        net: Callable[[tuple[int, ...], int], Net],
        widths: dict[str, int],
    ) -> Net:
        """The net itself, with what is its own: its class, and the names of its weights."""
        built = net(in_shape, out_features)
        narrow(built, widths)
        return built


def widths(net: Net) -> dict[str, Width]:
    """Sizes that may be free to change, by the name of the layer that computes the units."""
    found: dict[str, Width] = {}
    layers = list(_layers(net))
    for place, (name, layer) in enumerate(layers):
        if isinstance(layer, Attention):
            found[name] = Width(layer.heads, [_heads(layer)])
        elif not within(name, net.head_names()) and (
            width := _width(layer, [reader for _, reader in layers[place + 1 :]])
        ):
            found[name] = width
    return found


def removable(net: Net) -> dict[str, Width]:
    """Sizes that are free to change: without a unit, the net computes the same as where nobody reads the unit."""
    x = torch.randn(CHECKED_ROWS, *net.in_shape, generator=torch.Generator().manual_seed(0))
    return {name: width for name, width in widths(net).items() if width.units > 1 and _is_free(net, name, x)}


def narrow(net: Net, counts: Mapping[str, int]) -> None:
    """Leave out units, the least important first: those whose weights, of all layers they go through, have least norm.

    Source: Fang et al., "DepGraph: Towards Any Structural Pruning" (2023), its norm over groups.

    Args:
        net: Changed in place.
        counts: How many units are left, by the name of the layer that computes them.

    Raises:
        ValueError: If the net has no such layer, or not so many units.
    """
    for name, count in counts.items():
        known = widths(net)  # with the sizes that are left
        if name not in known or not 0 < count <= known[name].units:
            sizes = ", ".join(f"{name}: {width.units}" for name, width in known.items())
            raise ValueError(f"{type(net).__name__} has no {count} units of {name} (it has {sizes or 'none'})")
        lost = known[name].units - count
        remove(net, known[name], [_norms(group).topk(lost, largest=False).indices for group in known[name].groups])


@torch.no_grad()
def remove(net: Net, width: Width, units: list[Tensor]) -> None:
    """Leave out units, by their numbers in each group; what is left keeps its order."""
    kept: dict[tuple[nn.Module, str, int], Tensor] = {}
    for group, lost in zip(width.groups, units, strict=True):
        for module, name, dim, places in group:
            size = getattr(module, name).shape[dim]
            kept.setdefault((module, name, dim), torch.ones(size, dtype=torch.bool))[places[lost].flatten()] = False
    for (module, name, dim), left in kept.items():
        tensor = getattr(module, name)
        smaller = tensor.index_select(dim, left.nonzero()[:, 0].to(tensor.device))
        setattr(module, name, nn.Parameter(smaller) if isinstance(tensor, nn.Parameter) else smaller)
    for module in net.modules():
        _note_sizes(module)


def _layers(module: nn.Module, name: str = "") -> Iterator[tuple[str, nn.Module]]:
    """Modules that compute something by themselves, in the order in which they were made."""
    children = [] if isinstance(module, Attention) else list(module.named_children())
    if not children or next(module.parameters(recurse=False), None) is not None:
        yield name, module
    for part, child in children:
        yield from _layers(child, f"{name}.{part}".lstrip("."))


def _width(layer: nn.Module, following: list[nn.Module]) -> Width | None:
    """The units that a layer computes, if it is clear who reads them."""
    if isinstance(layer, nn.RNNBase) and not layer.proj_size:
        count, groups = layer.hidden_size, _features(layer)
    elif isinstance(layer, nn.Linear) or (isinstance(layer, PLAIN_CONVOLUTIONS) and layer.groups == 1):
        count = len(layer.weight)
        groups = [_slices(layer, ("weight", "bias"), torch.arange(count)[:, None])]
    else:
        return None
    for reader in following:
        if isinstance(reader, nn.modules.batchnorm._BatchNorm) and reader.num_features == count and len(groups) == 1:
            groups[0] += _slices(
                reader, ("weight", "bias", "running_mean", "running_var"), torch.arange(count)[:, None]
            )
        elif next(reader.parameters(), None) is not None:
            return Width(count, groups) if _read(groups, count, layer, reader) else None
    return None


def _read(groups: list[list[Slice]], count: int, layer: nn.Module, reader: nn.Module) -> bool:
    """Add what reads units to their groups, if that is clear."""
    names = ["weight"] if isinstance(reader, nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d) else []
    if isinstance(reader, nn.RNNBase):
        names = ["weight_ih_l0", "weight_ih_l0_reverse"][: 1 + reader.bidirectional]
    last = groups[-2:] if isinstance(layer, nn.RNNBase) and layer.bidirectional else groups[-1:]
    size = getattr(reader, names[0]).shape[1] if names else 0
    each = size // (len(last) * count)  # several where maps were flattened
    if getattr(reader, "groups", 1) != 1 or not each or each * len(last) * count != size:
        return False
    for start, group in enumerate(last):
        group += _slices(reader, names, start * count * each + torch.arange(count * each).view(count, each), dim=1)
    return True


def _slices(module: nn.Module, names: list[str] | tuple[str, ...], places: Tensor, dim: int = 0) -> list[Slice]:
    return [Slice(module, name, dim, places) for name in names if getattr(module, name, None) is not None]


def _heads(layer: Attention) -> list[Slice]:
    places = torch.arange(layer.query.out_features).view(layer.heads, -1)
    made = [
        part for linear in (layer.query, layer.key, layer.value) for part in _slices(linear, ("weight", "bias"), places)
    ]
    return [*made, Slice(layer.out, "weight", 1, places)]


def _features(layer: nn.RNNBase) -> list[list[Slice]]:
    """Of each layer and direction: its gates, its own reading of them, and the next layer's."""
    count, ends = layer.hidden_size, ["", "_reverse"][: 1 + layer.bidirectional]
    groups: list[list[Slice]] = []
    for depth in range(layer.num_layers):
        for direction, end in enumerate(ends):
            own, unit = f"l{depth}{end}", torch.arange(count)[:, None]
            gates = torch.arange(len(getattr(layer, f"weight_hh_{own}"))).view(-1, count).T  # (units, gates)
            group = _slices(
                layer, [f"{kind}_{own}" for kind in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")], gates
            )
            group += _slices(layer, [f"weight_hh_{own}"], unit, dim=1)
            group += _slices(
                layer, [f"weight_ih_l{depth + 1}{other}" for other in ends], direction * count + unit, dim=1
            )
            groups.append(group)
    return groups


def _note_sizes(module: nn.Module) -> None:
    """Have a module say the sizes that its weights have."""
    if isinstance(module, Attention):  # before its layers
        module.heads = len(module.query.weight) * module.heads // module.query.out_features
    elif isinstance(module, nn.Linear):
        module.out_features, module.in_features = module.weight.shape
    elif isinstance(module, PLAIN_CONVOLUTIONS) and module.groups == 1:
        module.out_channels, module.in_channels = module.weight.shape[:2]
    elif isinstance(module, nn.modules.batchnorm._BatchNorm) and module.running_mean is not None:
        module.num_features = len(module.running_mean)
    elif isinstance(module, nn.RNNBase):
        weights: dict[str, nn.Parameter] = dict(module.named_parameters())
        module.input_size, module.hidden_size = weights["weight_ih_l0"].shape[1], weights["weight_hh_l0"].shape[1]


@torch.no_grad()
def _norms(group: list[Slice]) -> Tensor:
    """Sum of squares of all weights of each unit."""
    total = torch.zeros(len(group[0].places))
    for module, name, dim, places in group:
        tensor: Tensor = getattr(module, name)
        if isinstance(tensor, nn.Parameter):
            total += tensor.cpu().movedim(dim, 0)[places].flatten(1).square().sum(1)
    return total


@torch.no_grad()
def _is_free(net: Net, name: str, x: Tensor) -> bool:
    silent, cut = (copy.deepcopy(net).eval() for _ in range(2))
    lost = torch.arange(widths(net)[name].units // 2)
    for group in widths(silent)[name].groups:
        for module, tensor, dim, places in group:
            if dim == 1:
                getattr(module, tensor).index_fill_(1, places[lost].flatten(), 0)
    try:
        remove(cut, width := widths(cut)[name], [lost] * len(width.groups))
        return torch.allclose(cut(x), silent(x), rtol=1e-3, atol=1e-5)
    except Exception:  # whatever another net says to sizes that it did not expect
        return False
