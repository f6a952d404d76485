"""Decide whether one `training_step` may take several optimizer steps.

Lightning's loop takes about a millisecond per step for the hooks of all callbacks: many times as long as the step of a
small model. Keras has `steps_per_execution` for the same reason.
"""

from lightning.pytorch import Callback, Trainer, callbacks
from lightning.pytorch.utilities.model_helpers import is_overridden

STEP_HOOKS = (
    "on_before_zero_grad",
    "on_before_backward",
    "on_after_backward",
    "on_before_optimizer_step",
    *(f"on_{split}_batch_{end}" for split in ("train", "validation", "test") for end in ("start", "end")),
)


def watches_steps(trainer: Trainer) -> bool:
    """Whether settings, schedulers or callbacks of a Trainer need single steps, or processes synchronise at each."""
    limits = (trainer.limit_train_batches, trainer.limit_val_batches, trainer.limit_test_batches)
    return (
        trainer.world_size > 1
        or trainer.precision != "32-true"
        or trainer.accumulate_grad_batches != 1
        or trainer.gradient_clip_val is not None
        or trainer.max_steps != -1
        or trainer.val_check_interval != 1.0
        or any((isinstance(limit, int) and limit > 0) or limit not in (1.0, 0) for limit in limits)
        or any(config.interval == "step" for config in trainer.lr_scheduler_configs)
        or any(map(_watches_steps, trainer.callbacks))  # type: ignore[attr-defined]
    )


def _watches_steps(callback: Callback) -> bool:
    if isinstance(callback, callbacks.ProgressBar) or getattr(callback, "allows_grouped_steps", False):
        return False
    if isinstance(callback, callbacks.LearningRateMonitor):
        return callback.logging_interval != "epoch"
    if isinstance(callback, callbacks.ModelCheckpoint):
        return callback._every_n_train_steps > 0 or callback._train_time_interval is not None
    accumulates = isinstance(callback, callbacks.GradientAccumulationScheduler | callbacks.StochasticWeightAveraging)
    return accumulates or any(is_overridden(hook, callback, Callback) for hook in STEP_HOOKS)


def count_step(trainer: Trainer) -> None:
    """Count an optimizer step that was taken outside of Lightning's loop."""
    loop = trainer.fit_loop.epoch_loop
    progress = loop.automatic_optimization.optim_progress.optimizer.step
    progress.increment_ready()
    progress.increment_completed()
    loop._batches_that_stepped += 1  # the step at which loggers log
