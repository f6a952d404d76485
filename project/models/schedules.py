"""Learning rate schedulers with a warm-up that last for the whole training."""

import math
from abc import abstractmethod

from lightning.pytorch import Trainer
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from project.runtime.errors import UserError


class WarmupLR(LRScheduler):
    """Base class of schedulers: the learning rate rises linearly for `warmup_steps`, then `after_warmup` scales it.

    Args:
        optimizer: The optimizer; its learning rates are reached after the warm-up.
        warmup_steps: Number of steps of the warm-up.
        total_steps: Number of steps of the training; by default that of the Trainer.
    """

    def __init__(self, optimizer: Optimizer, warmup_steps: int = 0, total_steps: int | None = None) -> None:
        self.warmup_steps, self.total_steps, self.follows_trainer = warmup_steps, total_steps, total_steps is None
        super().__init__(optimizer)

    def get_lr(self) -> list[float | Tensor]:
        """Return the learning rate of each parameter group for the next step."""
        return [rate * self._factor(self.last_epoch) for rate in self.base_lrs]

    def _factor(self, step: int) -> float:
        if step < self.warmup_steps:
            return (step + 1) / (self.warmup_steps + 1)
        if self.total_steps is None:  # before training starts
            return 1.0
        return self.after_warmup(min(1.0, (step - self.warmup_steps) / max(1, self.total_steps - self.warmup_steps)))

    @abstractmethod
    def after_warmup(self, progress: float) -> float:
        """Return the factor of the learning rate; progress goes from 0, the end of the warm-up, to 1."""


class WarmupCosine(WarmupLR):
    """Warm-up, then cosine annealing to a fraction of the learning rate.

    Source: Loshchilov & Hutter, "SGDR: Stochastic Gradient Descent with Warm Restarts" (2017), without restarts.

    Args:
        optimizer: The optimizer; its learning rates are reached after the warm-up.
        warmup_steps: Number of steps of the warm-up.
        total_steps: Number of steps of the training; by default that of the Trainer.
        final: Fraction of the learning rate at the end.
    """

    def __init__(
        self, optimizer: Optimizer, warmup_steps: int = 0, total_steps: int | None = None, final: float = 0.1
    ) -> None:
        self.final = final
        super().__init__(optimizer, warmup_steps, total_steps)

    def after_warmup(self, progress: float) -> float:
        """Return the factor on the learning rate."""
        return self.final + (1 - self.final) * (1 + math.cos(math.pi * progress)) / 2


class WarmupStable(WarmupLR):
    """Warm-up, then a constant learning rate, then linear decay to 0 (also called trapezoidal or WSD schedule).

    Source: Hägele et al., "Scaling Laws and Compute-Optimal Training Beyond Fixed Training Durations" (2024).

    Args:
        optimizer: The optimizer; its learning rates are reached after the warm-up.
        warmup_steps: Number of steps of the warm-up.
        total_steps: Number of steps of the training; by default that of the Trainer.
        decay_share: Share of the steps after the warm-up in which the learning rate decays.
    """

    def __init__(
        self, optimizer: Optimizer, warmup_steps: int = 0, total_steps: int | None = None, decay_share: float = 0.5
    ) -> None:
        if not 0 < decay_share <= 1:
            raise ValueError(f"decay_share must be in (0, 1], got {decay_share}")
        self.decay_share = decay_share
        super().__init__(optimizer, warmup_steps, total_steps)

    def after_warmup(self, progress: float) -> float:
        """Return the factor on the learning rate."""
        return min(1.0, (1 - progress) / self.decay_share)


def plan_schedules(trainer: Trainer) -> None:
    """Set `total_steps` of each `WarmupLR` without it to the number of steps of the training.

    Raises:
        UserError: If the number of steps is not limited.
    """
    for config in trainer.lr_scheduler_configs:
        schedule = config.scheduler
        if not isinstance(schedule, WarmupLR) or not schedule.follows_trainer:
            continue
        # This builds the training loader, which must not happen before the progress of a checkpoint has been restored.
        total = trainer.estimated_stepping_batches if config.interval == "step" else (trainer.max_epochs or math.inf)
        # In a run, a callback limits the steps instead of the Trainer, so that the last step is saved.
        limits = [getattr(callback, "max_steps", -1) for callback in trainer.callbacks]  # type: ignore[attr-defined]
        total = min([total, *(limit for limit in limits if limit >= 0)]) if config.interval == "step" else total
        if not 0 < total < math.inf:
            name = type(schedule).__name__
            raise UserError(
                f"--lr_scheduler {name}: the number of steps is not limited; set --lr_scheduler.total_steps"
            )
        schedule.total_steps = int(total)
