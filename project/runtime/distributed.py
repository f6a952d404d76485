"""Communication between the processes of distributed training."""

import os
from typing import TypeVar

import torch.distributed as dist

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
