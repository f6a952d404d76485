"""What every data module of the project shares: sizes, statistics, the exact answer, loaders."""

import hashlib
from abc import abstractmethod
from functools import cached_property
from typing import Any, NamedTuple, cast

import torch
from lightning.pytorch import LightningDataModule
from lightning.pytorch.utilities import rank_zero_warn
from torch.utils.data import DataLoader

from project.data.loader import Batch, Batches, BatchSampler, Rows, row_loader
from project.data.sampling import Sampling, is_labelled
from project.data.statistics import Statistics, statistics
from project.least_squares import LeastSquares, LeastSquaresFit
from project.runtime.errors import UserError

FLOAT32_MAX = torch.finfo(torch.float32).max


class Summary(NamedTuple):
    """What is known of the training rows as they are read: statistics of x and of y, and the exact answer."""

    x: Statistics
    y: Statistics | None
    fit: LeastSquaresFit | None = None


class Splits(NamedTuple):
    """Disjoint sets of rows."""

    train: Rows
    val: Rows
    test: Rows


class RowsDataModule(LightningDataModule):
    """Data that fits into memory, as rows of inputs and targets.

    A data module of your own says what its rows are by overriding `load`, and what they are called by
    `feature_names` and `target_names`; everything else follows.

    Args:
        batch_size: Rows a batch and process.
        num_workers: Worker processes that gather batches; 0 gathers them in the training process, which is fastest
            for rows in memory.
        seed: Seed of all that is random in the data: generated rows, splits, the order of batches.

    Attributes:
        feature_names: One name a column of x.
        target_names: One name a column of y.
        class_names: Where y is class numbers, a name for each; else None.
        window: Where a row is a window of a series, its length in time steps; else 0.
        summary: Set by a `load` that has checked and summarised the rows while it read them; else None.
        sampling: Which rows of them are taken; set before the first use.
    """

    feature_names: list[str]
    target_names: list[str]
    class_names: list[str] | None = None
    window: int = 0
    summary: Summary | None = None
    sampling: Sampling = Sampling()

    def __init__(self, batch_size: int, num_workers: int, seed: int) -> None:
        super().__init__()
        for flag, value, least in [("batch_size", batch_size, 1), ("num_workers", num_workers, 0), ("seed", seed, 0)]:
            if value < least:
                raise UserError(f"--data.{flag} is {value}: give {least} or more")
        self.batch_size, self.num_workers, self.seed = batch_size, num_workers, seed
        self._moved: dict[str, Rows] = {}
        self._position = {"epoch": 0, "rows": 0}

    @abstractmethod
    def load(self) -> Splits:
        """Read or make the rows, once: numbers in float32 or float64 and original units, or class numbers in int64."""

    @cached_property
    def _loaded(self) -> tuple[Splits, Summary]:
        splits = self.load()
        for name, rows in splits._asdict().items():
            if len(rows) == 0:
                raise UserError(f"the {name} split has no rows: give it more with --data")
            if self.summary is None:
                self._check_finite(name, rows)
        numbers, summary = self.class_names is None, self.summary
        if self.sampling.is_active:
            if summary is not None:
                raise UserError("--sampling: rows are chosen one by one, in memory: leave --data.stream out")
            splits = Splits(*self.sampling.choose(splits, self.feature_names, self.window))
        if summary is None:
            labelled = splits.train.y[is_labelled(splits.train.y)] if self.sampling.has_unlabelled else splits.train.y
            summary = Summary(statistics(splits.train.x), statistics(labelled) if numbers else None)
        self._check_columns(summary.x, self.feature_names)
        if summary.y is not None:
            self._check_columns(summary.y, self.target_names)
        # The statistics saw every digit; what is kept for training is float32, as the network is.
        kept = (Rows(r.x.float(), r.y.float() if numbers else r.y, block_rows=r.block_rows) for r in splits)
        return Splits(*kept), summary

    def _check_finite(self, split: str, rows: Rows) -> None:
        for values, names in [(rows.x, self.input_names), (rows.y, self.target_names)]:
            lowest, highest = values.aminmax()  # both are NaN where any value is
            if lowest >= -FLOAT32_MAX and highest <= FLOAT32_MAX:
                continue
            row, column = (~values.float().isfinite()).flatten(1).nonzero()[0].tolist()
            value = values[row].flatten()[column].item()
            raise UserError(f"{split} split, row {row + 1}, column {names[column]!r}: {value} is not a finite float32")

    def _check_columns(self, columns: Statistics, names: list[str]) -> None:
        if len(names) != columns.mean.numel():  # of images, which have statistics by channel
            names = [f"channel {channel}" for channel in range(columns.mean.numel())]
        constant = [name for name, flag in zip(names, columns.constant.flatten().tolist(), strict=True) if flag]
        if constant:
            rank_zero_warn(f"constant in the training rows, so nothing can be learned from it: {', '.join(constant)}")
        self.check_resolution(columns, names)

    @staticmethod
    def check_resolution(columns: Statistics, names: list[str]) -> None:
        """Raise a UserError for a column whose values float32 cannot tell apart."""
        resolution = columns.mean.abs() * torch.finfo(torch.float32).eps
        lost = (columns.std < 16 * resolution) & ~columns.constant
        for name, flag in zip(names, lost.flatten().tolist(), strict=True):
            if flag:
                raise UserError(
                    f"column {name!r} varies less than float32 resolves at its size: subtract an offset from it"
                )

    @property
    def splits(self) -> Splits:
        """The rows, in float32."""
        return self._loaded[0]

    @property
    def feature_statistics(self) -> Statistics:
        """Statistics of x in the training split, computed before rounding to float32."""
        return self._loaded[1].x

    @property
    def row_counts(self) -> list[int]:
        """Rows for training, validation and testing."""
        return [len(rows) for rows in self.splits]

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of up to 1,000 rows of each split, evenly spaced, inputs and targets."""
        digest = hashlib.sha256()
        for rows in self.splits:
            count = min(len(rows), 1_000)
            index = torch.arange(count) * (len(rows) - 1) // max(count - 1, 1)
            for values in rows.gather(index)[:2]:
                digest.update(values.cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()

    @property
    def feature_means(self) -> list[float]:
        """Mean of each column (or channel) of x in the training split."""
        return self.feature_statistics.mean.flatten().tolist()

    @property
    def target_statistics(self) -> Statistics | None:
        """Statistics of y in the training split, computed before rounding to float32; None for classes."""
        return self._loaded[1].y

    @cached_property
    def least_squares(self) -> LeastSquaresFit:
        """The exact least squares fit of the training split, on the float32 rows that a network is given."""
        train, known = self.splits.train, self._loaded[1].fit
        if known is not None:
            return known
        metric = LeastSquares(train.x[0].numel(), train.y[0].numel(), sync_on_compute=False)
        known_rows = is_labelled(train.y) if self.sampling.has_unlabelled else slice(None)
        metric.update(train.x[known_rows], train.y[known_rows])
        return metric.compute()

    @property
    def input_names(self) -> list[str]:
        """A name for each number of a flattened row: features, or features at each time step of a window."""
        steps = range(self.window - 1, -1, -1)
        lagged = [f"{name}[t-{step}]" if step else f"{name}[t]" for step in steps for name in self.feature_names]
        return lagged or self.feature_names

    @property
    def in_shape(self) -> tuple[int, ...]:
        """Shape of one row of x."""
        return tuple(self.splits.train.x.shape[1:])

    @property
    def out_features(self) -> int:
        """Number of outputs that a network needs: classes, or columns of y."""
        return self.splits.train.y.shape[1] if self.class_names is None else len(self.class_names)

    def setup(self, stage: str) -> None:
        """Read or make the rows, the first time."""
        _ = self.splits

    def train_dataloader(self) -> DataLoader[Batch | Batches]:
        """All training rows, in a new order each epoch."""
        loader = self._loader("train", shuffle=True)
        if self.trainer is not None:  # Lightning's own call of set_epoch comes too late for a resumed run's first epoch
            fit_loop: Any = self.trainer.fit_loop
            sampler = cast(BatchSampler, loader.sampler)
            sampler.set_epoch(fit_loop.epoch_progress.current.processed)
            if self._position["rows"] and self._position["epoch"] == sampler.epoch:
                # What an item is may have changed since, so that Lightning's own count would not do.
                done, progress = sampler.start_at(self._position["rows"]), fit_loop.epoch_loop.batch_progress.current
                progress.ready = progress.started = progress.processed = progress.completed = done
        return loader

    def state_dict(self) -> dict[str, Any]:
        """Where training is within an epoch: rows that all processes together have seen of it."""
        trainer: Any = self.trainer
        fit_loop, loader = trainer.fit_loop, trainer.train_dataloader
        epochs = fit_loop.epoch_progress.current
        position = {"epoch": epochs.processed, "rows": 0}
        if epochs.started > epochs.processed and loader is not None:
            position["rows"] = loader.sampler.rows_in(fit_loop.epoch_loop.batch_progress.current.processed)
        return position

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from there."""
        self._position = state_dict

    def val_dataloader(self) -> DataLoader[Batch | Batches]:
        """All validation rows, in order."""
        return self._loader("val")

    def test_dataloader(self) -> DataLoader[Batch | Batches]:
        """All test rows, in order."""
        return self._loader("test")

    def predict_dataloader(self) -> DataLoader[Batch | Batches]:
        """All test rows, in order."""
        return self._loader("test", steps=1)

    def _loader(self, split: str, shuffle: bool = False, steps: int | None = None) -> DataLoader[Batch | Batches]:
        rows, size, model = self._on_device(split), self.batch_size, self.trainer and self.trainer.lightning_module
        if steps is None:
            steps = getattr(model, "steps_per_execution", 1) if self.num_workers == 0 else 1
        if steps > 1:
            rows = Rows(rows.x, rows.y, size, rows.block_rows, rows.weights)
        return row_loader(rows, size * steps, shuffle=shuffle, seed=self.seed, num_workers=self.num_workers)

    def _on_device(self, split: str) -> Rows:
        """A split's rows, on the GPU where they fit: they are moved once, and not once a batch."""
        rows: Rows = getattr(self.splits, split)
        if split == "train" and self.trainer is not None:
            model = self.trainer.lightning_module
            if self.sampling.has_unlabelled and not getattr(model, "learns_unlabelled", False):
                raise UserError("--sampling.unlabelled: only a distillation learns from rows without labels")
            rows.weights = self.sampling.bootstrap_weights(len(rows), getattr(model, "members", 1))
        device = torch.device("cpu") if self.trainer is None else self.trainer.strategy.root_device
        if device.type != "cuda" or self.num_workers > 0:
            return rows
        if split not in self._moved:
            if rows.x.nbytes + rows.y.nbytes > torch.cuda.mem_get_info(device)[0] // 4:
                return rows
            weights = None if rows.weights is None else rows.weights.to(device)
            self._moved[split] = Rows(rows.x.to(device), rows.y.to(device), weights=weights)
        return self._moved[split]
