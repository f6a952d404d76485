"""Seed each epoch, so that a resumed run draws the same random numbers as an uninterrupted one."""

import torch
from lightning.pytorch import Callback, LightningModule, Trainer


class EpochSeed(Callback):
    """Seed torch at the start of each training epoch with a function of (seed, epoch, rank) alone.

    Lightning does not restore random states: without this, dropout in a resumed run differs from the uninterrupted run.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Seed the generators of all devices."""
        torch.manual_seed((self.seed * 1_000_003 + trainer.current_epoch) * trainer.world_size + trainer.global_rank)
