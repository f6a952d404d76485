"""Worker processes of loaders: signals do not end them before the training that needs their batches."""

import os
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from lightning.fabric.utilities.seed import pl_worker_init_function
from torch import Tensor
from torch.utils._pytree import tree_leaves
from torch.utils.data import DataLoader, get_worker_info

from project.runtime.signals import leave_signals_to_parent, silence_other_threads

WORKER_SECONDS = 300  # how long a batch of a worker is waited for, which a worker that is stuck never sends


def start_worker(worker: int, own: Callable[[int], object] | None = None) -> None:
    """Prepare a worker process; `own` is the function with which a loader was made to do so."""
    silence_other_threads()  # the thread that sends batches fails when the training process ends
    leave_signals_to_parent()
    if own is not None:
        own(worker)


def shared(batch: Any) -> Any:
    """Return a batch, of a worker in shared memory: its queue would lose one for which there is no room, in silence."""
    if get_worker_info() is not None:
        for part in tree_leaves(batch):
            if isinstance(part, Tensor) and part.device.type == "cpu" and part.layout is torch.strided:
                part.share_memory_()
    return batch


def _collated(samples: Any, collate: Callable[[Any], Any]) -> Any:
    return shared(collate(samples))


def protect_workers(loaders: Any) -> Any:
    """Return loaders, one or nested in lists and dicts, whose workers use `start_worker` and `shared`."""
    for loader in tree_leaves(loaders):
        if isinstance(loader, DataLoader) and loader.num_workers and not _is_protected(loader):
            own = loader.worker_init_fn
            if own is None and int(os.environ.get("PL_SEED_WORKERS", "0")):  # Lightning seeds where there is no other
                own = pl_worker_init_function
            loader.worker_init_fn = partial(start_worker, own=own)
            loader.collate_fn = partial(_collated, collate=loader.collate_fn)
    return loaders


def _is_protected(loader: DataLoader[Any]) -> bool:
    return isinstance(loader.worker_init_fn, partial) and loader.worker_init_fn.func is start_worker
