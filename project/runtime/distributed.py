"""Communication between the processes of distributed training."""

import os
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

Value = TypeVar("Value")


# torchrun, Lightning, SLURM and LSF set these variables before the process group exists. The first that is set is used.
RANKS = ("RANK", "LOCAL_RANK", "SLURM_PROCID", "JSM_NAMESPACE_RANK")


def rank() -> int:
    """Return the global rank of this process; 0 without distributed training."""
    return int(next((os.environ[name] for name in RANKS if name in os.environ), "0"))


def gather(value: Value) -> list[Value]:
    """Return the values of all processes in the order of their ranks. Every process must call this function."""
    if not (dist.is_available() and dist.is_initialized()):
        return [value]
    values: list[Value] = [value] * dist.get_world_size()
    dist.all_gather_object(values, value)
    return values


def gather_equal(value: Tensor, group: Any = None) -> list[Tensor]:
    """Return the tensors of all processes, which have one shape; a metric's `dist_sync_fn`.

    This takes one message. That of torchmetrics takes three, since shapes may differ.
    """
    value = value.double()  # sums are float64, but still float32 in a process that has not added a row
    values = [torch.empty_like(value) for _ in range(dist.get_world_size(group))]
    dist.all_gather(values, value.contiguous(), group)
    return values
