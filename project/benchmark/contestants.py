"""Ways to train a linear model on the same rows; each returns the seconds of an epoch."""

import contextlib
import io
import tempfile
import time
from collections.abc import Callable

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from project.cli import ExperimentCLI, fit
from project.quiet import quiet_lightning

LR = 0.01
# Ways that take minutes an epoch are measured over so many batches, and reported as if over all.
MOST_BATCHES = 8


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


def seconds(work: Callable[[], object]) -> float:
    """How long a call takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def experiment(rows: int, features: int, batch: int, *words: str) -> ExperimentCLI:
    """This project as its command line builds it, with everything that a default run has switched on."""
    quiet_lightning()
    sizes = {"rows": rows, "features": features, "batch_size": batch}
    flags = [word for name, value in sizes.items() for word in (f"--data.{name}", str(value))]
    folder = tempfile.mkdtemp()
    switches = ["--trainer.default_root_dir", folder, "--trainer.enable_progress_bar", "true"]
    return ExperimentCLI([*flags, *switches, *words])


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

    return seconds(epoch)


def plain_data_loader(x: Tensor, y: Tensor, batch: int) -> float:
    """The same loop over `DataLoader(TensorDataset(x, y), shuffle=True)`."""
    net = nn.Linear(x.shape[1], 1)
    optimizer = torch.optim.SGD(net.parameters(), lr=LR)

    def epoch() -> None:
        for number, (x_batch, y_batch) in enumerate(loader):
            if number == batches:
                break
            _step(net, optimizer, x_batch, y_batch)

    loader = DataLoader(TensorDataset(x, y), batch, shuffle=True)
    batches = min(len(loader), MOST_BATCHES)
    return seconds(epoch) * len(loader) / batches


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
    clock, loader = EpochClock(), DataLoader(TensorDataset(x, y), batch, shuffle=True)
    batches = min(len(loader), MOST_BATCHES)
    trainer = Trainer(
        max_epochs=1,
        limit_train_batches=batches,
        default_root_dir=tempfile.mkdtemp(),
        callbacks=[clock],
        enable_model_summary=False,
    )
    with contextlib.redirect_stdout(io.StringIO()):
        trainer.fit(StockModule(x.shape[1]), loader)
    return clock.seconds[0] * len(loader) / batches


def sgd_regressor(x: Tensor, y: Tensor) -> float:
    """An epoch of scikit-learn's `SGDRegressor`."""
    from sklearn.linear_model import SGDRegressor

    peer, target = SGDRegressor(learning_rate="constant", eta0=1e-3), y.flatten().numpy()
    return seconds(lambda: peer.partial_fit(x.numpy(), target))
