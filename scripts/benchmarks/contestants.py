"""Ways to train a linear model on the same rows; each returns the seconds of an epoch."""

import contextlib
import io
import itertools
import statistics
import tempfile
import time
from collections.abc import Callable
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from project.runtime.logging import quiet_lightning
from project.training.cli import ExperimentCLI
from project.training.train import fit

LR = 0.01
# Ways that take minutes an epoch are measured over so many batches, and the others taken to be like them.
MAX_BATCHES = 8


class EpochClock(Callback):
    """Seconds from the start of each epoch to the start of the next, with all that lies between."""

    def __init__(self) -> None:
        self.starts: list[float] = []

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Note the time."""
        self.starts.append(time.perf_counter())

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Note the time."""
        self.starts.append(time.perf_counter())

    @property
    def seconds(self) -> list[float]:
        """Of each epoch."""
        return [end - start for start, end in zip(self.starts, self.starts[1:], strict=False)]


class BatchClock(Callback):
    """When the first epoch starts, and when each of its batches ends."""

    def __init__(self) -> None:
        self.ends: list[float] = []

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Note the time."""
        self.ends.append(time.perf_counter())

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Note the time."""
        self.ends.append(time.perf_counter())


def seconds(work: Callable[[], object]) -> float:
    """How long a call takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def experiment(rows: int, features: int, batch: int, *args: str) -> ExperimentCLI:
    """This project as its command line builds it, with everything that a default run has switched on."""
    quiet_lightning()
    sizes = {"rows": rows, "features": features, "batch_size": batch}
    flags = [arg for name, value in sizes.items() for arg in (f"--data.{name}", str(value))]
    folder = tempfile.mkdtemp()
    switches = ["--trainer.default_root_dir", folder, "--trainer.enable_progress_bar", "true"]
    return ExperimentCLI([*flags, *switches, *args])


def project_epochs(cli: ExperimentCLI) -> list[float]:
    """Seconds of each epoch of this project's Trainer."""
    clock = EpochClock()
    cli.trainer.callbacks.append(clock)  # type: ignore[attr-defined]
    with contextlib.redirect_stdout(io.StringIO()):
        fit(cli)
    return clock.seconds


def read(x: Tensor, y: Tensor) -> float:
    """Reading every number once: what no epoch can be faster than."""
    return seconds(lambda: (x.sum(), y.sum()))


def plain_loop(x: Tensor, y: Tensor, batch: int) -> float:
    """A loop in plain PyTorch over slices, without shuffling."""
    net = nn.Linear(x.shape[1], 1)
    optimizer = torch.optim.SGD(net.parameters(), lr=LR)

    def epoch() -> None:
        for start in range(0, len(x), batch):
            _step(net, optimizer, x[start : start + batch], y[start : start + batch])

    return statistics.median(seconds(epoch) for _ in range(3))


def plain_data_loader(x: Tensor, y: Tensor, batch: int) -> float:
    """The same loop over `DataLoader(TensorDataset(x, y), shuffle=True)`."""
    net = nn.Linear(x.shape[1], 1)
    optimizer = torch.optim.SGD(net.parameters(), lr=LR)

    loader = DataLoader(TensorDataset(x, y), batch, shuffle=True)
    ends = [time.perf_counter()]
    for x_batch, y_batch in itertools.islice(loader, MAX_BATCHES):
        _step(net, optimizer, x_batch, y_batch)
        ends.append(time.perf_counter())
    return _whole_epoch(ends, len(loader))


def _whole_epoch(ends: list[float], batches: int) -> float:
    """Seconds of an epoch of so many batches, from its start and the ends of its first few: what the first batch takes
    beyond the others, such as a permutation of all rows, is paid once."""
    first, others = ends[1] - ends[0], (ends[-1] - ends[1]) / max(len(ends) - 2, 1)
    return first + others * (batches - 1)


def _step(net: nn.Module, optimizer: torch.optim.Optimizer, x: Tensor, y: Tensor) -> None:
    optimizer.zero_grad()
    nn.functional.mse_loss(net(x), y).backward()
    optimizer.step()


class StockModule(LightningModule):
    """The LightningModule that Lightning's documentation shows."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.net = nn.Linear(features, 1)

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        """The loss, logged."""
        loss = nn.functional.mse_loss(self.net(batch[0]), batch[1])
        self.log("train_loss", loss, prog_bar=True)
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """SGD."""
        return torch.optim.SGD(self.parameters(), lr=LR)


def stock_lightning(x: Tensor, y: Tensor, batch: int) -> float:
    """Lightning as its documentation shows it, with that DataLoader and its default logger, bar and checkpoints."""
    clock, loader = BatchClock(), DataLoader(TensorDataset(x, y), batch, shuffle=True)
    trainer = Trainer(
        max_epochs=1,
        limit_train_batches=min(len(loader), MAX_BATCHES),
        default_root_dir=tempfile.mkdtemp(),
        callbacks=[clock],
        enable_model_summary=False,
    )
    with contextlib.redirect_stdout(io.StringIO()):
        trainer.fit(StockModule(x.shape[1]), loader)
    return _whole_epoch(clock.ends, len(loader))


def sgd_regressor(x: Tensor, y: Tensor) -> float:
    """An epoch of scikit-learn's `SGDRegressor`."""
    from sklearn.linear_model import SGDRegressor

    peer, target = SGDRegressor(learning_rate="constant", eta0=1e-3), y.flatten().numpy()
    return seconds(lambda: peer.partial_fit(x.numpy(), target))
