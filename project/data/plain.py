"""Support for LightningDataModules that are not derived from this project's classes."""

from functools import cached_property
from typing import Any

import torch
from lightning.pytorch import LightningDataModule
from lightning.pytorch.utilities.model_helpers import is_overridden
from torch import Tensor

from project.data.datamodule import Splits
from project.data.loader import Rows
from project.data.resumable import RandomStream, ResumableLoader
from project.data.sampling import Sampling
from project.data.workers import protect_workers
from project.runtime.errors import UserError


class OtherBatchesError(UserError, AttributeError):
    """The batches of a data module are not (x, y). It is an AttributeError, because `in_shape` is then missing."""


class PlainDataModule(LightningDataModule):
    """A wrapper for a LightningDataModule of any class.

    A resumed training loader continues within an epoch, and `setup` always draws the same random numbers, so that a
    resumed run and a test get the same split. Shapes, names and classes are the attributes `in_shape`, `out_features`,
    `feature_names`, `target_names`, `class_names` or `num_classes` of the wrapped module if it has them. Otherwise they
    are inferred from its first training batch.

    Args:
        inner: The wrapped data module.
        seed: Seed of the order of its training batches, and of the random numbers in its `setup`.
    """

    sampling = Sampling()
    window = 0
    feature_means = row_counts = fingerprint = None

    def __init__(self, inner: LightningDataModule, seed: int) -> None:
        super().__init__()
        self.inner, self.seed = inner, seed
        self.prepare_data_per_node = inner.prepare_data_per_node
        self._position = {"epoch": 0, "batches": 0}

    def prepare_data(self) -> None:
        """Prepare the data."""
        self.inner.prepare_data()

    def setup(self, stage: str) -> None:
        """Set up the data."""
        self.inner.trainer = self.trainer
        with RandomStream(self.seed):
            self.inner.setup(stage)

    def teardown(self, stage: str) -> None:
        """Tear down the data."""
        self.inner.teardown(stage)

    def train_dataloader(self) -> Any:
        """Return the training loader. With a single process, a resumed one continues within an epoch."""
        loader = protect_workers(self.inner.train_dataloader())
        if self.trainer is None or not self.resumes_within_epoch:  # Lightning divides the rows among processes
            return loader
        epochs = self._epochs(self.trainer)
        skipped = self._position["batches"] if self._position["epoch"] == epochs.processed else 0
        return ResumableLoader(loader, self.seed, lambda: epochs.processed, skipped)

    def val_dataloader(self) -> Any:
        """Return the validation loader."""
        return protect_workers(self.inner.val_dataloader())

    def test_dataloader(self) -> Any:
        """Return the test loader."""
        return protect_workers(self.inner.test_dataloader())

    def predict_dataloader(self) -> Any:
        """Return the prediction loader."""
        return protect_workers(self.inner.predict_dataloader())

    def on_before_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """Change a batch before it is moved to the device."""
        return self.inner.on_before_batch_transfer(batch, dataloader_idx)

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        """Move a batch to the device."""
        self.inner.trainer = self.trainer
        return self.inner.transfer_batch_to_device(batch, device, dataloader_idx)

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """Change a batch after it was moved to the device."""
        return self.inner.on_after_batch_transfer(batch, dataloader_idx)

    def state_dict(self) -> dict[str, Any]:
        """Return the position within the epoch, and the state of the data module."""
        trainer: Any = self.trainer
        epochs, batches = self._epochs(trainer), trainer.fit_loop.epoch_loop.batch_progress.current
        within_epoch = epochs.started > epochs.processed
        position = {"epoch": epochs.processed, "batches": batches.processed if within_epoch else 0}
        return {"position": position, "inner": self.inner.state_dict()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue at a saved position."""
        self._position = state_dict["position"]
        self.inner.load_state_dict(state_dict["inner"])

    @staticmethod
    def _epochs(trainer: Any) -> Any:
        return trainer.fit_loop.epoch_progress.current

    @property
    def resumes_within_epoch(self) -> bool:
        """Whether a run can be resumed exactly within an epoch, which requires a single process."""
        return self.trainer is None or self.trainer.world_size == 1

    @property
    def batch_size(self) -> Any:
        """Rows per batch if the data module has this attribute, which Lightning's BatchSizeFinder sets."""
        return self.inner.batch_size  # type: ignore[attr-defined]

    @batch_size.setter
    def batch_size(self, size: int) -> None:
        self.inner.batch_size = size  # type: ignore[attr-defined]

    @property
    def _flag(self) -> str:
        return f"--data {type(self.inner).__name__}"

    @cached_property
    def _first_batch(self) -> tuple[Tensor, Tensor]:
        """Inputs and targets of the first training batch."""
        self.prepare_data()
        self.setup("fit")
        with RandomStream(self.seed):
            batch = next(iter(self.inner.train_dataloader()), None)
        pair = batch[:2] if isinstance(batch, list | tuple) else ()
        if len(pair) < 2 or not all(isinstance(part, Tensor) for part in pair):
            problem = f"its batches must be (x, y) for the models of this project, got {_describe(batch)}"
            raise OtherBatchesError(f"{self._flag}: {problem}; use your own --model, or change the batches")
        return pair[0], pair[1]

    @cached_property
    def splits(self) -> Splits:
        """The rows of all loaders, read into memory, for stages that compare outputs on the same rows."""
        self.prepare_data()
        for stage in ("fit", "test"):
            self.setup(stage)
        return Splits(*(self._rows(f"{split}_dataloader") for split in Splits._fields))

    def _rows(self, name: str) -> Rows:
        if not is_overridden(name, self.inner, LightningDataModule):
            raise UserError(f"{self._flag}: has no {name}, whose rows are needed here; add one")
        with RandomStream(self.seed):
            x, y = zip(*((batch[0], batch[1]) for batch in getattr(self.inner, name)()), strict=True)
        return Rows(torch.cat(x), torch.cat(y))

    @property
    def in_shape(self) -> tuple[int, ...]:
        """Shape of one row of x."""
        return tuple(getattr(self.inner, "in_shape", None) or self._first_batch[0].shape[1:])

    @property
    def out_features(self) -> int:
        """Number of outputs of the network: classes, or columns of y."""
        if (known := getattr(self.inner, "out_features", None)) is not None:
            return known
        return self._first_batch[1].shape[1] if self.class_names is None else len(self.class_names)

    @cached_property
    def class_names(self) -> list[str] | None:
        """One name for each class if y has class indices, otherwise None."""
        names, count = (getattr(self.inner, name, None) for name in ("class_names", "num_classes"))
        y = self._first_batch[1]
        if names is None and count is None and y.ndim == 1 and not y.is_floating_point():
            with RandomStream(self.seed):
                count = 1 + max(int(batch[1].max()) for batch in self.inner.train_dataloader())
        if names is None and count is None and y.ndim != 2:
            problem = f"y must be numbers (rows, targets) or class indices (rows,) int64, got {_describe(y)}"
            raise OtherBatchesError(f"{self._flag}: {problem}")
        return [*map(str, names)] if names is not None else None if count is None else [*map(str, range(count))]

    @property
    def feature_names(self) -> list[str]:
        """One name for each value of a row."""
        count = self._first_batch[0][0].numel()
        return list(getattr(self.inner, "feature_names", None) or (f"x{index}" for index in range(count)))

    @property
    def input_names(self) -> list[str]:
        """A name for each number of a flattened row."""
        return self.feature_names

    @property
    def target_names(self) -> list[str]:
        """One name for each column of y."""
        count = self.out_features if self.class_names is None else 1
        known = getattr(self.inner, "target_names", None)
        return list(known or (["y"] if count == 1 else [f"y{index}" for index in range(count)]))


def _describe(value: Any) -> str:
    if isinstance(value, Tensor):
        return f"{value.dtype} of shape {tuple(value.shape)}"
    if isinstance(value, list | tuple):
        return f"({', '.join(map(_describe, value))})"
    return type(value).__name__
