"""An optimizer that uses Muon for the matrices of hidden layers, and AdamW for everything else."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.optim import AdamW, Optimizer
from torch.optim.optimizer import ParamsT

# Of the Newton-Schulz iteration, chosen for fast convergence of small singular values.
COEFFICIENTS = (3.4445, -4.7750, 2.0315)
ITERATIONS = 5


class MuonAdamW(Optimizer):
    """Use Muon for each matrix, unless its parameter group has `"muon": False`, and AdamW for everything else.

    Put the embeddings and the head of a network in groups with `"muon": False`, as `LanguageModel` does. Each group is
    divided in two, which keep its settings. Schedulers scale both learning rates.

    `torch.optim.Muon` accepts only matrices, and always computes in bfloat16. On a CPU without bfloat16 instructions,
    its step takes as long as the forward and the backward pass together.

    Source: Jordan et al., "Muon: An optimizer for hidden layers in neural networks" (2024).

    Args:
        params: Parameters, or parameter groups.
        lr: Learning rate of Muon. The update is an approximately orthogonal matrix times this number.
        momentum: Momentum of Muon.
        adamw_lr: Learning rate of AdamW.
        betas: Decay rates of AdamW's moments.
        eps: Number added to the denominator of AdamW.
        weight_decay: Decoupled weight decay of both, multiplied by the learning rate.
    """

    def __init__(
        self,
        params: ParamsT,
        lr: float = 0.02,
        momentum: float = 0.95,
        adamw_lr: float = 3e-3,
        betas: tuple[float, float] = (0.9, 0.95),
        eps: float = 1e-8,
        weight_decay: float = 0.01,
    ) -> None:
        if lr < 0 or not 0 <= momentum < 1:
            raise ValueError(f"MuonAdamW: lr {lr} must be 0 or more, and momentum {momentum} in [0, 1)")
        given: list[Any] = list(params)
        matrices: list[dict[str, Any]] = []
        others: list[dict[str, Any]] = []
        for group in given if given and isinstance(given[0], dict) else [{"params": given}]:
            parts: dict[bool, list[Tensor]] = {True: [], False: []}
            for parameter in group["params"]:
                parts[parameter.ndim == 2 and bool(group.get("muon", True))].append(parameter)
            settings = {"lr": lr, "momentum": momentum, "weight_decay": weight_decay}
            if parts[True]:
                matrices.append(settings | {**group, "params": parts[True], "muon": True})
            if parts[False]:
                others.append({**group, "params": parts[False], "muon": False})
        self._adamw = None
        if others or not matrices:  # torch refuses an optimizer without parameters
            self._adamw = AdamW(others, lr=adamw_lr, betas=betas, eps=eps, weight_decay=weight_decay)
            others = self._adamw.param_groups
        super().__init__([*matrices, *others], {})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Take a step, and return the loss from the closure, which computes the loss and the gradients."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        if self._adamw is not None:  # `load_state_dict` may have replaced groups and state
            self._adamw.param_groups = [group for group in self.param_groups if not group["muon"]]
            self._adamw.state = self.state
            self._adamw.step()
        for group in self.param_groups:
            if group["muon"]:
                self._step_matrices(group)
        return loss

    def _step_matrices(self, group: dict[str, Any]) -> None:
        by_shape: dict[torch.Size, list[Tensor]] = {}
        for parameter in group["params"]:
            if parameter.grad is not None:
                by_shape.setdefault(parameter.shape, []).append(parameter)
        for shape, parameters in by_shape.items():  # matrices of the same shape are computed together, which is faster
            updates = torch.stack([self._with_momentum(parameter, group["momentum"]) for parameter in parameters])
            scale = group["lr"] * max(1.0, shape[0] / shape[1]) ** 0.5
            for parameter, update in zip(parameters, orthogonalize(updates), strict=True):
                parameter.mul_(1 - group["lr"] * group["weight_decay"]).sub_(update, alpha=scale)

    def _with_momentum(self, parameter: Tensor, momentum: float) -> Tensor:
        """Return Nesterov's update of a matrix, and update its mean gradient."""
        assert parameter.grad is not None
        state = self.state[parameter]
        if not state:
            state["momentum_buffer"] = torch.zeros_like(parameter.grad)
        mean = state["momentum_buffer"].lerp_(parameter.grad, 1 - momentum)
        return parameter.grad.lerp(mean, momentum)


def orthogonalize(matrices: Tensor) -> Tensor:
    """Approximate the nearest orthogonal matrices by a Newton-Schulz iteration; singular values become 0.7 to 1.2.

    Matrices have shape (n, rows, columns) and any dtype. On a GPU, the iteration uses bfloat16.
    """
    x = matrices.bfloat16() if matrices.is_cuda else matrices
    is_tall = x.shape[1] > x.shape[2]
    x = x.mT if is_tall else x
    x = x / x.norm(dim=(1, 2), keepdim=True).clamp(min=1e-7)
    a, b, c = COEFFICIENTS
    for _ in range(ITERATIONS):
        gram = x @ x.mT  # (n, smaller, smaller)
        x = a * x + (b * gram + c * gram @ gram) @ x
    return (x.mT if is_tall else x).to(matrices.dtype)
