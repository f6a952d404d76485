"""Loaders of rows in memory or on disk, which continue within an epoch when a run is resumed."""

from typing import Any, cast

import torch
from lightning.pytorch import LightningDataModule
from torch.utils.data import DataLoader

from project.data.batch_sampler import BatchSampler
from project.data.loader import Batch, Batches, Rows, row_loader
from project.data.sampling import Sampling
from project.runtime.errors import UserError


class ResumableLoaders(LightningDataModule):
    """The loaders of a data module, whose state is the position within the epoch.

    Args:
        batch_size: Rows per batch and process.
        num_workers: Number of worker processes that load batches.
        seed: Seed of the order of batches.

    Attributes:
        splits: The training, validation and test rows.
        sampling: Selection of rows; set it before the first use of the rows.
    """

    splits: Any
    sampling: Sampling = Sampling()

    def __init__(self, batch_size: int, num_workers: int, seed: int) -> None:
        super().__init__()
        self.batch_size, self.num_workers, self.seed = batch_size, num_workers, seed
        self._on_gpu: dict[str, Rows] = {}
        self._position = {"epoch": 0, "rows": 0}

    @property
    def groups_batches(self) -> bool:
        """Whether an item of a loader may be `Batches`, several batches for several optimizer steps."""
        return self.num_workers == 0

    def train_dataloader(self) -> DataLoader[Batch | Batches]:
        """Return a loader of all training rows, in a new order each epoch."""
        loader = self._loader("train", shuffle=True)
        if self.trainer is not None:  # for the first epoch of a resumed run, Lightning calls set_epoch too late
            sampler = cast(BatchSampler, loader.sampler)
            fit_loop: Any = self.trainer.fit_loop
            sampler.set_epoch(fit_loop.epoch_progress.current.processed)
            if self._position["rows"] and self._position["epoch"] == sampler.epoch:
                sampler.start_at(self._position["rows"])
        return loader

    @property
    def resumed_items(self) -> int:
        """Number of items of the training loader before the position at which a resumed run continues.

        It may differ from the number when the run was saved, since the size of items may have changed.
        """
        return cast(BatchSampler, self._loader("train", shuffle=True).sampler).items_in(self._position["rows"])

    def state_dict(self) -> dict[str, Any]:
        """Return the position within the epoch: the number of rows that all processes together have processed."""
        trainer: Any = self.trainer
        fit_loop, loader = trainer.fit_loop, trainer.train_dataloader
        epochs = fit_loop.epoch_progress.current
        done = fit_loop.epoch_loop.batch_progress.current.processed
        within_epoch = epochs.started > epochs.processed and loader is not None
        return {"epoch": epochs.processed, "rows": loader.sampler.rows_in(done) if within_epoch else 0}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue at a saved position."""
        self._position = state_dict

    def val_dataloader(self) -> DataLoader[Batch | Batches]:
        """Return a loader of all validation rows, in order."""
        return self._loader("val")

    def test_dataloader(self) -> DataLoader[Batch | Batches]:
        """Return a loader of all test rows, in order."""
        return self._loader("test")

    def predict_dataloader(self) -> DataLoader[Batch | Batches]:
        """Return a loader of all test rows, in order."""
        return self._loader("test", steps=1)

    def _loader(self, split: str, shuffle: bool = False, steps: int | None = None) -> DataLoader[Batch | Batches]:
        rows, size, model = self._on_device(split), self.batch_size, self.trainer and self.trainer.lightning_module
        if steps is None:
            steps = getattr(model, "steps_per_execution", 1) if self.groups_batches else 1
        return row_loader(
            rows, size, shuffle=shuffle, steps=steps, seed=self.seed, num_workers=self.num_workers, device=self._device
        )

    @property
    def _device(self) -> torch.device:
        return torch.device("cpu") if self.trainer is None else self.trainer.strategy.root_device

    def _on_device(self, split: str) -> Rows:
        """Return a split, on the GPU if it fits there, to transfer it once instead of batch by batch."""
        rows: Rows = getattr(self.splits, split)
        if split == "train" and self.trainer is not None:
            model = self.trainer.lightning_module
            if self.sampling.has_unlabelled and not getattr(model, "learns_unlabelled", False):
                raise UserError("--sampling.unlabelled: only distillation can use rows without labels; remove it")
            drawn = self.sampling.bootstrap_weights(len(rows), getattr(model, "members", 1))
            rows = rows if drawn is None else rows.weighted(drawn)
        device = self._device
        if device.type != "cuda" or self.num_workers > 0:
            return rows
        if split not in self._on_gpu:
            if rows.nbytes > torch.cuda.mem_get_info(device)[0] // 4:
                return rows
            self._on_gpu[split] = rows.to(device)
        return self._on_gpu[split]
