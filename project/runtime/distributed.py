"""What each process of a training has, brought together."""

from typing import TypeVar

import torch.distributed as dist

Value = TypeVar("Value")


def gather(value: Value) -> list[Value]:
    """A value of each process, in the order of their ranks; every process must ask at the same time."""
    if not (dist.is_available() and dist.is_initialized()):
        return [value]
    values: list[Value] = [value] * dist.get_world_size()
    dist.all_gather_object(values, value)
    return values
