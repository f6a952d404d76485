"""Muon for the matrices of hidden layers, AdamW for everything else, as one optimizer."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.optim import AdamW, Muon, Optimizer
from torch.optim.optimizer import ParamsT


class MuonAdamW(Optimizer):
    """Train each matrix by Muon, unless its parameter group says `"muon": False`, and everything else by AdamW.

    A network's embeddings and its head belong in groups with `"muon": False`; `LanguageModel` makes them. Each group is
    divided in two, and keeps its own settings. Schedules scale both learning rates.

    Source: Jordan et al., "Muon: An optimizer for hidden layers in neural networks" (2024).

    Args:
        params: Parameters, or parameter groups.
        lr: Learning rate of Muon: how far a step moves a matrix, as a fraction of an orthogonal matrix.
        momentum: Momentum of Muon.
        adamw_lr: Learning rate of AdamW.
        betas: Decay rates of AdamW's moments.
        eps: Added to the denominator of AdamW.
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
        given: list[Any] = list(params)
        groups = given if given and isinstance(given[0], dict) else [{"params": given}]
        matrices: list[dict[str, Any]] = []
        others: list[dict[str, Any]] = []
        for group in groups:
            parts: dict[bool, list[Tensor]] = {True: [], False: []}
            for parameter in group["params"]:
                parts[parameter.ndim == 2 and bool(group.get("muon", True))].append(parameter)
            for muon, part in parts.items():
                if part:
                    (matrices if muon else others).append({**group, "params": part, "muon": muon})
        # Torch checks the settings, and each optimizer fills in those of its groups. No optimizer may be empty.
        self._inner: dict[bool, Optimizer] = {}
        if matrices:
            self._inner[True] = Muon(matrices, lr=lr, momentum=momentum, weight_decay=weight_decay)
        if others or not matrices:
            self._inner[False] = AdamW(others, lr=adamw_lr, betas=betas, eps=eps, weight_decay=weight_decay)
        super().__init__([group for inner in self._inner.values() for group in inner.param_groups], {})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Take a step; return what the closure returns, which computes the loss and the gradients."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for muon, inner in self._inner.items():  # groups and state may have been loaded since the last step
            inner.param_groups = [group for group in self.param_groups if group["muon"] == muon]
            inner.state = self.state
            inner.step()
        return loss
