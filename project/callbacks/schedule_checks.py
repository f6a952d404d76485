"""Check, before training, for errors that would stop it after some epochs: a short schedule, an unknown metric."""

import math
from collections.abc import Iterable, Iterator

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint
from lightning.pytorch.utilities.types import LRSchedulerConfig
from torch.optim.lr_scheduler import OneCycleLR

from project.callbacks.best_checkpoint import BestCheckpoint
from project.models.supervised import Supervised
from project.runtime.errors import UserError


class ScheduleChecks(Callback):
    """Check that schedules are as long as training, and that the metrics that schedules and callbacks monitor exist.

    A `ReduceLROnPlateau` that monitors a validation metric steps after each validation, not after each epoch.

    Args:
        max_steps: Number of optimizer steps after which training stops; -1 for no limit.
    """

    allows_grouped_steps = True

    def __init__(self, max_steps: int = -1) -> None:
        self.max_steps = max_steps

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Raise a UserError with the first problem, if there is any."""
        every = trainer.check_val_every_n_epoch
        for config in trainer.lr_scheduler_configs:
            if _follows_validation(config) and config.interval == "epoch" and config.frequency == 1 and every:
                config.frequency = every
        problems = [*self._schedules(trainer, pl_module), *_monitors(trainer, pl_module)]
        if problems:
            raise UserError(problems[0])

    def _schedules(self, trainer: Trainer, pl_module: LightningModule) -> Iterator[str]:
        for config in trainer.lr_scheduler_configs:
            scheduler = config.scheduler
            if isinstance(scheduler, OneCycleLR):
                needed = scheduler.last_epoch + self._remaining(trainer, config)
                if needed > scheduler.total_steps:
                    fix = (
                        f"set --lr_scheduler.total_steps {needed}" if needed < math.inf else "set --trainer.max_epochs"
                    )
                    unit = f"one per {config.interval}"
                    yield (
                        f"--lr_scheduler OneCycleLR: has {scheduler.total_steps} steps, but training takes {needed} "
                        f"({unit}); {fix}"
                    )
            elif config.reduce_on_plateau and config.interval == "step" and isinstance(pl_module, Supervised):
                yield "--model.lr_interval step: ReduceLROnPlateau acts on a metric of an epoch; set it to epoch"
            elif _follows_validation(config) and trainer.check_val_every_n_epoch is None:
                yield (
                    f"--lr_scheduler.monitor {config.monitor}: is not computed after each epoch with "
                    "--trainer.check_val_every_n_epoch null; set that to a number"
                )

    def _remaining(self, trainer: Trainer, config: LRSchedulerConfig) -> float:
        """Return the number of steps of a schedule until the end of training."""
        epochs = trainer.max_epochs if trainer.max_epochs is not None and trainer.max_epochs >= 0 else math.inf
        left = epochs - trainer.current_epoch
        if config.interval == "step":
            left = trainer.estimated_stepping_batches - trainer.global_step
            left = min(left, self.max_steps - trainer.global_step) if self.max_steps >= 0 else left
        return left if left == math.inf else left // config.frequency


def _follows_validation(config: LRSchedulerConfig) -> bool:
    return config.reduce_on_plateau and (config.monitor or "").startswith("val")


def _monitors(trainer: Trainer, pl_module: LightningModule) -> Iterator[str]:
    """Yield a problem for each unknown metric; none if the model or a callback is from outside the project."""
    known = metric_names(trainer, pl_module)
    for flag, monitor in _monitored(trainer):
        if known and monitor not in known:
            hint = ""
            if monitor.startswith("val") and not trainer.enable_validation:
                hint = "; there is no validation"
            yield f"{flag} {monitor}: no such metric{hint}; use one of {', '.join(known)}"


def metric_names(trainer: Trainer, pl_module: LightningModule) -> list[str]:
    """Return the names of all metrics of an epoch; none if code from outside the project may log others."""
    sources = [pl_module, *trainer.callbacks]  # type: ignore[attr-defined]
    if not isinstance(pl_module, Supervised) or not all(_is_known(type(source)) for source in sources):
        return []
    splits = ["train", *(["val"] if trainer.enable_validation else [])]
    names = [f"{split}/{name}" for split in splits for name in pl_module.metric_names]
    return [*names, *(["train/penalty"] if pl_module.l1 or pl_module.l2 else [])]


def _is_known(source: type) -> bool:
    return source.__module__.split(".")[0] in ("project", "lightning")


def _monitored(trainer: Trainer) -> Iterable[tuple[str, str]]:
    """Yield each flag that names a metric, with the metric."""
    for config in trainer.lr_scheduler_configs:
        if config.reduce_on_plateau and config.monitor:
            yield "--lr_scheduler.monitor", config.monitor
    for callback in trainer.callbacks:  # type: ignore[attr-defined]
        monitors = isinstance(callback, EarlyStopping | ModelCheckpoint) and not isinstance(callback, BestCheckpoint)
        if monitors and callback.monitor:
            yield "--trainer.callbacks.monitor", callback.monitor
