"""Parts of the objective: penalties, and the members of an ensemble."""

import torch
from torch import Tensor, nn

from project.data.sampling import Sampling
from project.models.prepared import PreparedBatch
from project.nets.ensemble import Ensemble
from project.runtime.errors import UserError


def penalty(net: nn.Module, l1: float, l2: float) -> Tensor:
    """Return l1 * sum |w| + l2 * sum w^2, a scalar, over weights in standard units, without biases."""
    weights = torch.cat([p.flatten() for p in net.parameters() if p.ndim > 1])
    return l1 * weights.abs().sum() + l2 * weights.square().sum()


def each_member(net: nn.Module, batch: PreparedBatch) -> tuple[Tensor, Tensor, PreparedBatch]:
    """Compute a network, which may be an ensemble, whose members are trained as if each were alone.

    Returns:
        The outputs (B, out_features); those of all members one after the other (members * B, out_features); and the
        batch to compare them with, repeated for each member.
    """
    if not isinstance(net, Ensemble):
        outputs = net(batch.inputs)
        return outputs, outputs, batch
    each = net.each(batch.inputs)  # (members, B, out)
    return net.combine(each), each.flatten(0, 1), batch.repeated(len(each))


def require_different_members(net: nn.Module, sampling: Sampling) -> None:
    """Raise a UserError if the members of an ensemble would stay identical."""
    if isinstance(net, Ensemble) and net.count > 1 and sampling.bootstrap is None and net.members_identical():
        problem = "all members have the same initial weights and would stay identical"
        fix = "set --sampling.bootstrap 0 to train each on a sample of its own"
        raise UserError(f"--model.net Ensemble: {problem}; {fix}")
