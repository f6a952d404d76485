"""Communication between the processes of distributed training."""

import os
from typing import TypeVar

import torch.distributed as dist

Value = TypeVar("Value")


# Set by torchrun, Lightning, SLURM and LSF, before the processes know of each other; the first that is set counts.
RANKS = ("RANK", "LOCAL_RANK", "SLURM_PROCID", "JSM_NAMESPACE_RANK")


def rank() -> int:
    """Return the number of this process among those of a training; 0 if it is alone."""
    return int(next((os.environ[name] for name in RANKS if name in os.environ), "0"))


def gather(value: Value) -> list[Value]:
    """Return the values of all processes, in the order of their ranks; every process must call it."""
    if not (dist.is_available() and dist.is_initialized()):
        return [value]
    values: list[Value] = [value] * dist.get_world_size()
    dist.all_gather_object(values, value)
    return values
