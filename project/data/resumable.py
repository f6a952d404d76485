"""A loader that continues within an epoch, around a loader of any kind."""

import random
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch


class ResumableLoader:
    """Iterate over any loader in an order that is a function of (seed, epoch), and skip batches that are done.

    What the loader draws (its order, augmentations in this process) comes from random streams of its own, so that it
    does not depend on what the training draws in between. All else is that of the loader.

    Args:
        loader: The loader.
        seed: Seed of the random streams.
        epoch: Returns the number of complete epochs.
        skipped: Number of batches that the first iteration skips.
    """

    def __init__(self, loader: Any, seed: int, epoch: Callable[[], int], skipped: int = 0) -> None:
        self.loader, self.seed, self.epoch, self.skipped = loader, seed, epoch, skipped

    def __getattr__(self, name: str) -> Any:
        if name == "loader":  # while it is copied
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
    """Within `with`, the generators of torch, NumPy and Python continue a stream of their own."""

    def __init__(self, seed: int) -> None:
        self.seed: int | None = seed
        self._states: list[Any] = []

    def __enter__(self) -> "RandomStream":
        outside = _states()
        if self.seed is not None:
            torch.manual_seed(self.seed)
            np.random.seed(self.seed)  # noqa: NPY002 (what other code draws from)
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
