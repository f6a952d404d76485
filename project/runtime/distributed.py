"""Communication between the processes of distributed training."""

from typing import TypeVar

import torch.distributed as dist

Value = TypeVar("Value")


def gather(value: Value) -> list[Value]:
    """Return the values of all processes, in the order of their ranks; every process must call it."""
    if not (dist.is_available() and dist.is_initialized()):
        return [value]
    values: list[Value] = [value] * dist.get_world_size()
    dist.all_gather_object(values, value)
    return values
