"""Random numbers that a resumed run draws as the uninterrupted one does."""

import torch
from lightning.pytorch import Callback, LightningModule, Trainer


class EpochSeed(Callback):
    """Seeds torch at the start of each training epoch, by (seed, epoch, process) alone.

    Lightning restores no random state: dropout in a resumed run would differ from the run that was not interrupted.

    Args:
        seed: Seed of the run.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Seed the generators of all devices."""
        torch.manual_seed((self.seed * 1_000_003 + trainer.current_epoch) * trainer.world_size + trainer.global_rank)
