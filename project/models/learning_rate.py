"""Set the learning rate of a training, also for its schedulers."""

from lightning.pytorch import Trainer


def set_learning_rate(trainer: Trainer, rate: float) -> None:
    """Set the learning rate, times the `lr_factor` of a parameter group if it has one, also in the schedulers."""
    for optimizer in trainer.optimizers:
        for group in optimizer.param_groups:
            group["lr"] = group["initial_lr"] = rate * group.get("lr_factor", 1.0)
    for config in trainer.lr_scheduler_configs:
        config.scheduler.base_lrs = [group["initial_lr"] for group in config.scheduler.optimizer.param_groups]
