"""Worker processes of loaders, which must survive signals as long as the training needs their batches."""

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

WORKER_SECONDS = 300  # timeout for a batch, in case a worker hangs


def start_worker(worker: int, own: Callable[[int], object] | None = None) -> None:
    """Initialise a worker process; `own` is the loader's own `worker_init_fn`."""
    silence_other_threads()  # the thread that sends batches fails when the training process ends
    leave_signals_to_parent()
    if own is not None:
        own(worker)


def shared(batch: Any) -> Any:
    """Move a batch of a worker to shared memory, and return it.

    If shared memory is full, this raises an error. Otherwise the queue of the worker would lose the batch silently.
    """
    if get_worker_info() is not None:
        for part in tree_leaves(batch):
            if isinstance(part, Tensor) and part.device.type == "cpu" and part.layout is torch.strided:
                part.share_memory_()
    return batch


def _collated(samples: Any, collate: Callable[[Any], Any]) -> Any:
    return shared(collate(samples))


def protect_workers(loaders: Any) -> Any:
    """Make the workers of loaders, which may be nested in lists and dicts, use `start_worker` and `shared`."""
    for loader in tree_leaves(loaders):
        if isinstance(loader, DataLoader) and loader.num_workers and not _is_protected(loader):
            own = loader.worker_init_fn
            if own is None and int(os.environ.get("PL_SEED_WORKERS", "0")):  # as Lightning would do
                own = pl_worker_init_function
            loader.worker_init_fn = partial(start_worker, own=own)
            loader.collate_fn = partial(_collated, collate=loader.collate_fn)
    return loaders


def _is_protected(loader: DataLoader[Any]) -> bool:
    return isinstance(loader.worker_init_fn, partial) and loader.worker_init_fn.func is start_worker
