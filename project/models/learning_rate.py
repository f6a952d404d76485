"""Set the learning rate of a training, also for its schedulers."""

from lightning.pytorch import Trainer


def set_learning_rate(trainer: Trainer, rate: float) -> None:
    """Set the learning rate of all parameter groups, and the base rates of the schedulers.

    Args:
        trainer: The trainer, with its optimizers and schedulers built.
        rate: The learning rate of the head; a group with an `lr_factor` gets `rate * lr_factor`.
    """
    for optimizer in trainer.optimizers:
        for group in optimizer.param_groups:
            group["lr"] = group["initial_lr"] = rate * group.get("lr_factor", 1.0)
    for config in trainer.lr_scheduler_configs:
        config.scheduler.base_lrs = [group["initial_lr"] for group in config.scheduler.optimizer.param_groups]
