"""Small optimizer steps run in one thread."""

import copy
import os
from typing import Any

import torch
from lightning.fabric.utilities.throughput import measure_flops
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import nn

from project.models.supervised import Supervised
from project.nets import Net

# Floating-point operations of a step below which a second thread saves less than a tenth of the time.
SMALL_STEP = 7e7
MAX_PARAMETERS = 1_000_000  # with more, no step is small


class SmallSteps(Callback):
    """Run the steps of small nets in one thread; validation, metrics and other work keep all threads.

    A second thread saves no time in a small step, and the two wait for each other in every operation: a program that
    occupies one of two cores makes such a step several times slower. The decision depends on the net and the batch
    size, not on a measured time, so that a resumed run computes the same as an uninterrupted one. The environment
    variable OMP_NUM_THREADS takes precedence.
    """

    allows_grouped_steps = True

    def __init__(self) -> None:
        self.threads: int | None = None  # outside of a step; None if steps keep all threads

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Decide for the whole training."""
        rows = getattr(getattr(trainer, "datamodule", None), "batch_size", None)
        self.threads = None
        if "OMP_NUM_THREADS" in os.environ or pl_module.device.type != "cpu" or not isinstance(rows, int):
            return
        if isinstance(pl_module, Supervised):
            # The backward pass takes twice as long as the forward pass.
            small = 3 * rows * row_flops(pl_module.net.net) < SMALL_STEP
            self.threads = torch.get_num_threads() if small else None

    def on_train_batch_start(self, *_: Any) -> None:
        """Use one thread."""
        if self.threads is not None:
            torch.set_num_threads(1)

    def on_train_batch_end(self, *_: Any) -> None:
        """Use all threads again."""
        if self.threads is not None:
            torch.set_num_threads(self.threads)

    def on_exception(self, *_: Any) -> None:
        """Use all threads again after a training that was stopped."""
        self.on_train_batch_end()


def row_flops(net: nn.Module) -> float:
    """Return the floating-point operations of one row of numbers through a net of this project.

    Nets of other packages, which may not compute with shapes alone, nets of tokens and large ones give infinity.
    """
    known = {type(module).__module__.partition(".")[0] for module in net.modules()} <= {"project", "torch"}
    small = sum(parameter.numel() for parameter in net.parameters()) <= MAX_PARAMETERS
    if not (isinstance(net, Net) and known and small) or net.takes_tokens:
        return float("inf")
    shapes = copy.deepcopy(net).eval().to("meta")
    return measure_flops(shapes, lambda: shapes(torch.zeros(1, *net.in_shape, device="meta")))
