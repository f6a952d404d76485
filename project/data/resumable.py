"""A wrapper that makes any loader resumable within an epoch."""

import random
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch


class ResumableLoader:
    """Iterate over any loader in an order that is a function of (seed, epoch), and skip processed batches.

    The random numbers of the loader (its order, augmentation in this process) come from a separate stream, so that they
    do not depend on those of the training. All other attributes are those of the loader.

    Args:
        loader: The loader.
        seed: Seed of the random streams.
        epoch: Returns the number of complete epochs.
        skipped: Number of batches to skip in the first iteration.
    """

    def __init__(self, loader: Any, seed: int, epoch: Callable[[], int], skipped: int = 0) -> None:
        self.loader, self.seed, self.epoch, self.skipped = loader, seed, epoch, skipped

    def __getattr__(self, name: str) -> Any:
        if name == "loader":  # not set yet while the object is copied
            raise AttributeError(name)
        return getattr(self.loader, name)

    def __len__(self) -> int:
        return len(self.loader)

    def __iter__(self) -> Iterator[Any]:
        skipped, self.skipped = self.skipped, 0
        with RandomStream((self.seed * 1_000_003 + self.epoch()) % 2**32) as stream:
            batches = iter(self.loader)
            for _ in range(skipped):
                next(batches, None)
        while True:
            with stream:
                try:
                    batch = next(batches)
                except StopIteration:
                    return
            yield batch


class RandomStream:
    """In a `with` block, torch, NumPy and Python draw from a separate random stream, which later blocks continue."""

    def __init__(self, seed: int) -> None:
        self.seed: int | None = seed
        self._states: list[Any] = []

    def __enter__(self) -> "RandomStream":
        outside = _states()
        if self.seed is not None:
            torch.manual_seed(self.seed)
            np.random.seed(self.seed)  # noqa: NPY002 (other code uses it)
            random.seed(self.seed)
            self.seed = None
        else:
            _set_states(self._states)
        self._states = outside
        return self

    def __exit__(self, *_: object) -> None:
        outside, self._states = self._states, _states()
        _set_states(outside)


def _states() -> list[Any]:
    return [torch.get_rng_state(), np.random.get_state(), random.getstate()]  # noqa: NPY002


def _set_states(states: list[Any]) -> None:
    torch.set_rng_state(states[0])
    np.random.set_state(states[1])  # noqa: NPY002
    random.setstate(states[2])
