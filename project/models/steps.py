"""Several optimizer steps in one `training_step`, with manual optimization.

For each step, Lightning's loop spends about a millisecond in the hooks of callbacks, which is much longer than the step
of a small model takes. Keras has `steps_per_execution` for the same reason.
"""

from functools import partial
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer, callbacks
from lightning.pytorch.strategies import DDPStrategy
from lightning.pytorch.utilities.model_helpers import is_overridden
from torch.optim.lr_scheduler import ReduceLROnPlateau

from project.data.loader import Batches
from project.models.hyperparameters import called_by
from project.models.step_graph import take_step

MAX_STEPS = 64
STEP_HOOKS = (
    "on_before_zero_grad",
    "on_before_backward",
    "on_after_backward",
    "on_before_optimizer_step",
    *(f"on_{split}_batch_{end}" for split in ("train", "validation", "test") for end in ("start", "end")),
)


STEPS = (
    *("configure_optimizers", "training_step", "validation_step", "test_step", "backward", "optimizer_step"),
    *("optimizer_zero_grad", "configure_gradient_clipping", "lr_scheduler_step"),
)
# Callbacks of Lightning that need single steps although they override no step hook.
WATCHING = (
    *(callbacks.GradientAccumulationScheduler, callbacks.StochasticWeightAveraging),
    *(callbacks.LearningRateFinder, callbacks.BatchSizeFinder),
)
TRACKS = "track_running_stats"  # an attribute of batch and instance norms
# Keys of a checkpoint with the number of optimizer steps, for automatic and manual optimization.
AUTOMATIC, MANUAL = "epoch_loop.automatic_optimization.optim_progress", "epoch_loop.manual_optimization"


def takes_several_steps(module: LightningModule, base: type[LightningModule], scheduler: Any, interval: str) -> bool:
    """Whether a module may take several optimizer steps in one `training_step`.

    It may if it inherits all step methods from `base`, and no setting, scheduler or callback needs single steps.
    """
    inherited = all(getattr(type(module), hook) is getattr(base, hook) for hook in (*STEP_HOOKS, *STEPS))
    plateau = isinstance(kind := called_by(scheduler), type) and issubclass(kind, ReduceLROnPlateau)
    scheduled = scheduler is not None and (interval == "step" or plateau)
    grouped = getattr(getattr(module.trainer, "datamodule", None), "groups_batches", False)
    # DDP copies running statistics from the first process to the others in each `training_step`.
    copied = module.trainer.world_size > 1 and any(getattr(part, TRACKS, False) for part in module.modules())
    chosen = inherited and not vars(module).keys() & set(STEPS) and not scheduled
    return bool(chosen and grouped and not copied and not watches_steps(module.trainer))


def watches_steps(trainer: Trainer) -> bool:
    """Whether settings or callbacks of a Trainer need single steps, or processes share more than gradients."""
    limits = (trainer.limit_train_batches, trainer.limit_val_batches, trainer.limit_test_batches)
    return (
        (trainer.world_size > 1 and not isinstance(trainer.strategy, DDPStrategy))
        or trainer.precision != "32-true"
        or trainer.accumulate_grad_batches != 1
        or trainer.gradient_clip_val is not None
        or trainer.max_steps != -1
        or trainer.val_check_interval != 1.0
        or any((isinstance(limit, int) and limit > 0) or limit not in (1.0, 0) for limit in limits)
        or any(map(_watches_steps, trainer.callbacks))  # type: ignore[attr-defined]
    )


def _watches_steps(callback: Callback) -> bool:
    if isinstance(callback, callbacks.ProgressBar) or getattr(callback, "allows_grouped_steps", False):
        return False
    if isinstance(callback, callbacks.LearningRateMonitor):
        return callback.logging_interval != "epoch"
    if isinstance(callback, callbacks.ModelCheckpoint):
        return not callback.every_n_epochs  # it saves after a number of steps, or at time intervals
    return isinstance(callback, WATCHING) or any(is_overridden(hook, callback, Callback) for hook in STEP_HOOKS)


def match_progress(checkpoint: dict[str, Any], automatic: bool) -> None:
    """Convert the step counts of a checkpoint between automatic and manual optimization."""
    loops, steps = checkpoint.get("loops", {}).get("fit_loop", {}), checkpoint.get("global_step", 0)
    counts = {"ready": steps, "completed": steps}
    if automatic and AUTOMATIC in loops:
        loops[AUTOMATIC]["optimizer"]["step"]["total"] = counts
    elif f"{MANUAL}.optim_step_progress" in loops:
        loops[f"{MANUAL}.optim_step_progress"]["total"] = counts


def take_steps(module: Any, batches: Batches, batch_idx: int) -> None:
    """Take one optimizer step of a `Supervised` module for each batch; Lightning counts them."""
    optimizer: Any = module.optimizers()
    take = partial(take_step, module, optimizer) if module.step_graph is None else module.step_graph.step
    # Several small batches are prepared together; in place, unless the rows are a view of the data.
    pieces = (module.prepare(*piece, overwrite=not isinstance(batches.index, slice)) for piece in batches.pieces())
    each = (batch for piece in pieces for batch in piece.split(batches.batch_size))
    for number, batch in enumerate(each, start=batch_idx * MAX_STEPS + 1):
        loss, outputs = take(batch)
        module.loss_watch.check(loss, number)
        module.update_train_metrics(outputs, batch.y, batch.weights)
