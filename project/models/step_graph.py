"""Optimizer steps as a CUDA graph, which launches all kernels of a step at once.

Launching the kernels of a small net one by one takes much longer than running them. Source: PyTorch's documentation,
"CUDA semantics", section "CUDA Graphs", whole-network capture.
"""

from typing import Any

import torch
from lightning.pytorch.strategies import SingleDeviceStrategy
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor
from torch.optim import SGD

from project.models.prepared import PreparedBatch
from project.runtime.errors import UserError

WARM_UP = 3  # steps before the first capture, in which libraries allocate their memory


class StepGraph:
    """Takes the optimizer steps of a `Supervised` module by replaying a captured step, with the same results.

    A step is captured again in each epoch, since schedulers and callbacks may have changed it. Batches whose shape
    differs from that of the first batch, such as the last batch of an epoch, are computed without a graph.
    """

    def __init__(self, module: Any) -> None:
        self.module, self.optimizer = module, module.optimizers()
        self._stream, self._taken = torch.cuda.Stream(), 0
        self._graph: torch.cuda.CUDAGraph | None = None
        self._batch: PreparedBatch | None = None  # the memory that the graph reads
        self._results: tuple[Tensor, Tensor] | None = None  # the memory that it writes: the loss and the outputs
        self._settings: list[Any] = []

    def step(self, batch: PreparedBatch) -> tuple[Tensor, Tensor]:
        """Take a step, and return the loss, a scalar, and the outputs (B, out_features) in standard units.

        Raises:
            UserError: If the net cannot be captured.
        """
        if self._batch is None:
            self._batch = PreparedBatch(*[part if part is None else part.clone() for part in batch])  # type: ignore[arg-type]
        if _shapes(batch) != _shapes(self._batch):
            return self._uncaptured(batch)
        for part, values in zip(self._batch, batch, strict=True):
            if part is not None and values is not None:
                part.copy_(values)
        if self._taken < WARM_UP:
            self._taken += 1
            self._stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(self._stream):
                results = self._uncaptured(self._batch)
            torch.cuda.current_stream().wait_stream(self._stream)
        else:
            if self._graph is None or self._settings != self._current_settings():
                self._capture(self._batch)
            self.optimizer.step(self._replay)  # finds no gradients, since the graph updates the weights
            assert self._results is not None
            results = self._results
        loss, outputs = results
        return loss.clone(), outputs.clone()  # the next replay overwrites them

    def _uncaptured(self, batch: PreparedBatch) -> tuple[Tensor, Tensor]:
        results = take_step(self.module, self.optimizer, batch)
        self.optimizer.zero_grad()
        return results

    def _capture(self, batch: PreparedBatch) -> None:
        self._graph = self._results = None  # frees their memory
        self._graph, self._settings = torch.cuda.CUDAGraph(), self._current_settings()
        try:
            with torch.cuda.graph(self._graph):
                # With torch's own optimizer, so that Lightning does not count a step.
                self._results = take_step(self.module, self.optimizer.optimizer, batch)
        except RuntimeError as error:
            reason = str(error).splitlines()[0]
            raise UserError(f"--model.cuda_graph: this net cannot be captured ({reason}); set it to false") from error
        self.optimizer.zero_grad()

    def _replay(self) -> Tensor:
        assert self._graph is not None
        assert self._results is not None
        self._graph.replay()
        return self._results[0]

    def _current_settings(self) -> list[Any]:
        groups = self.optimizer.optimizer.param_groups
        values = [{name: value for name, value in group.items() if name != "params"} for group in groups]
        return [self.module.current_epoch, *values]


def is_capturing() -> bool:
    """Whether a CUDA graph is being captured, during which the CPU cannot read values."""
    return torch.cuda.is_available() and torch.cuda.is_current_stream_capturing()


def _shapes(batch: PreparedBatch) -> list[Any]:
    return [None if part is None else part.shape for part in batch]


def take_step(module: Any, optimizer: Any, batch: PreparedBatch) -> tuple[Tensor, Tensor]:
    """Take an optimizer step of a `Supervised` module, and return the loss and the outputs in standard units."""
    outputs = batch.y

    def closure() -> Tensor:
        nonlocal outputs
        optimizer.zero_grad()
        loss, outputs = module.compute_loss(batch)
        if module.trainer.world_size > 1:
            module.manual_backward(loss)  # averages the gradients of the processes
        else:
            loss.backward()  # without the hooks of `manual_backward`, which take as long as a small step
        return loss.detach()

    return optimizer.step(closure), outputs


def step_graph(module: Any) -> StepGraph | None:
    """Return a `StepGraph` for a `Supervised` module; None if its steps cannot be captured, with a warning on a GPU.

    The step counters of the optimizer, which may come from a checkpoint, are moved to the device that they need.
    """
    optimizer = module.optimizers().optimizer
    problem = None
    if module.automatic_optimization or not isinstance(module.trainer.strategy, SingleDeviceStrategy):
        problem = "a setting or a callback needs single steps"
    elif not isinstance(optimizer, SGD) and "capturable" not in optimizer.defaults:
        problem = f"{type(optimizer).__name__} cannot be captured; use SGD or Adam"
    captures = module.device.type == "cuda" and problem is None
    if module.device.type == "cuda" and problem:
        rank_zero_warn(f"--model.cuda_graph: has no effect: {problem}")
    for group in optimizer.param_groups:
        if "capturable" in group:
            group["capturable"] = captures
        for state in (optimizer.state[parameter] for parameter in group["params"] if parameter in optimizer.state):
            if isinstance(state.get("step"), Tensor) and not group.get("fused"):
                state["step"] = state["step"].to(module.device if captures else "cpu")
    return StepGraph(module) if captures else None
