"""Structured pruning: networks with fewer units."""

import copy
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from project.nets.net import Net, NetFactory
from project.nets.plain import build
from project.nets.transformer import Attention
from project.nets.widths import PLAIN_CONVOLUTIONS, Slice, Width, widths


class Pruned(Net):
    """Build a net with fewer units than its arguments say. The result is an instance of the net's own class.

    Args:
        net: The net with all units.
        units: Number of units to keep, by the name of the layer that computes them.
        levels: Number of levels of each column of a table; set by the data, see `project.nets.plain.build`.
    """

    def __new__(  # type: ignore[misc]
        cls,
        in_shape: tuple[int, ...],
        out_features: int,
        net: NetFactory,
        units: dict[str, int],
        levels: list[int] | None = None,
    ) -> Net:
        """Return the net itself, so that its class and the names of its weights stay the same."""
        built = build(net, in_shape, out_features, levels)
        narrow(built, units)
        return built


def removable(net: Net) -> dict[str, Width]:
    """Return the widths that can be reduced: those where removing a unit has the same effect as ignoring its output."""
    x = torch.randn(3, *net.in_shape, generator=torch.Generator().manual_seed(0))
    return {name: width for name, width in widths(net).items() if width.units > 1 and _is_free(net, name, x)}


def narrow(net: Net, counts: Mapping[str, int]) -> None:
    """Remove the least important units, in place: those whose weights, in all layers, have the smallest norm.

    Args:
        net: The net.
        counts: Number of units to keep, by the name of the layer that computes them.

    Raises:
        ValueError: If the net has no such layer, or fewer units.

    Source: the group norm of Fang et al., "DepGraph: Towards Any Structural Pruning" (2023).
    """
    for name, count in counts.items():
        known = widths(net)  # again, because earlier removals have changed the sizes
        sizes = ", ".join(f"{name}: {width.units}" for name, width in known.items())
        valid = name in known and 0 < count <= known[name].units
        net.require(valid, f"cannot keep {count} units of {name}; it has {sizes or 'none'}")
        removed = known[name].units - count
        remove(net, known[name], [_norms(group).topk(removed, largest=False).indices for group in known[name].groups])


@torch.no_grad()
def remove(net: Net, width: Width, units: list[Tensor]) -> None:
    """Remove units by their indices in each group; the others keep their order."""
    kept: dict[tuple[nn.Module, str, int], Tensor] = {}
    for group, removed in zip(width.groups, units, strict=True):
        for module, name, dim, indices in group:
            size = getattr(module, name).shape[dim]
            kept.setdefault((module, name, dim), torch.ones(size, dtype=torch.bool))[indices[removed].flatten()] = False
    for (module, name, dim), mask in kept.items():
        tensor = getattr(module, name)
        smaller = tensor.index_select(dim, mask.nonzero()[:, 0].to(tensor.device))
        setattr(module, name, nn.Parameter(smaller) if isinstance(tensor, nn.Parameter) else smaller)
    for module in net.modules():
        _update_sizes(module)


def _update_sizes(module: nn.Module) -> None:
    if isinstance(module, Attention):  # first, while its layers still have the old sizes
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
    """Return the sum of squares of all weights of each unit."""
    total = torch.zeros(len(group[0].indices))
    for module, name, dim, indices in group:
        tensor: Tensor = getattr(module, name)
        if isinstance(tensor, nn.Parameter):
            total += tensor.cpu().movedim(dim, 0)[indices].flatten(1).square().sum(1)
    return total


@torch.no_grad()
def _is_free(net: Net, name: str, x: Tensor) -> bool:
    """Whether removing half of the units has the same effect as ignoring their outputs."""
    silent, cut = (copy.deepcopy(net).eval() for _ in range(2))
    removed = torch.arange(widths(net)[name].units // 2)
    for group in widths(silent)[name].groups:
        for module, tensor, dim, indices in group:
            if dim == 1:
                getattr(module, tensor).index_fill_(1, indices[removed].flatten(), 0)
    try:
        remove(cut, width := widths(cut)[name], [removed] * len(width.groups))
        return torch.allclose(cut(x), silent(x), rtol=1e-4, atol=1e-5)
    except Exception:  # a third-party net may fail in any way on unexpected sizes
        return False
