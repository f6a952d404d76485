"""Parts of the objective: penalties, and the outputs of ensemble members."""

import torch
from torch import Tensor, nn

from project.data.sampling import Sampling
from project.models.prepared import PreparedBatch
from project.nets.ensemble import Ensemble
from project.runtime.errors import UserError


def penalty(net: nn.Module, l1: float, l2: float) -> Tensor:
    """Return l1 * sum |w| + l2 * sum w², a scalar, over all weights in standard units except biases."""
    weights = torch.cat([p.flatten() for p in net.parameters() if p.ndim > 1])
    return l1 * weights.abs().sum() + l2 * weights.square().sum()


def each_member(net: nn.Module, batch: PreparedBatch) -> tuple[Tensor, Tensor, PreparedBatch]:
    """Compute the outputs of a network and, if it is an ensemble, of its members, which are trained separately.

    Returns:
        The outputs (B, out_features); the outputs of all members one after the other (members * B, out_features); and
        the batch to compare them with, repeated for each member.
    """
    if not isinstance(net, Ensemble):
        outputs = net(batch.inputs)
        return outputs, outputs, batch
    each = net.each(batch.inputs)  # (members, B, out)
    return net.combine(each), each.flatten(0, 1), batch.repeated(len(each))


def require_different_members(net: nn.Module, sampling: Sampling) -> None:
    """Check that the members of an ensemble would not stay identical.

    Raises:
        UserError: If they would.
    """
    if isinstance(net, Ensemble) and net.count > 1 and sampling.bootstrap is None and net.members_identical():
        problem = "all members have the same initial weights and would stay identical"
        fix = "set --sampling.bootstrap 0 to train each on its own bootstrap sample"
        raise UserError(f"--model.net Ensemble: {problem}; {fix}")
