"""Ways to train a linear model on the same rows; each returns the seconds of an epoch."""

import contextlib
import io
import itertools
import statistics
import tempfile
import time
from collections.abc import Callable

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import LambdaCallback
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from project.runtime.logging import quiet_lightning
from project.training.cli import ExperimentCLI
from project.training.train import fit

LR = 0.01
# An epoch of the slow contestants takes minutes, so it is extrapolated from a few batches.
MAX_BATCHES = 8


def seconds(work: Callable[[], object]) -> float:
    """Measure how long a call takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def recorder(times: list[float]) -> Callable[..., None]:
    """Return a hook of any signature that appends the current time to a list."""
    return lambda *_: times.append(time.perf_counter())


def experiment(rows: int, features: int, batch: int, *args: str) -> ExperimentCLI:
    """Build a training of this project as its command line does, with all callbacks of a default run."""
    sizes = {"rows": rows, "features": features, "batch_size": batch}
    return configured(*(arg for name, value in sizes.items() for arg in (f"--data.{name}", str(value))), *args)


def configured(*args: str) -> ExperimentCLI:
    """Build a training from command-line arguments, in a temporary folder."""
    quiet_lightning()
    folder = tempfile.mkdtemp()
    return ExperimentCLI(["--trainer.default_root_dir", folder, "--trainer.enable_progress_bar", "true", *args])


def project_epochs(cli: ExperimentCLI) -> list[float]:
    """Train, and return the seconds from the start of each epoch to the start of the next one, or to the end."""
    times: list[float] = []
    clock = LambdaCallback(on_train_epoch_start=recorder(times), on_train_end=recorder(times))
    cli.trainer.callbacks.append(clock)  # type: ignore[attr-defined]
    with contextlib.redirect_stdout(io.StringIO()):
        fit(cli)
    return [end - start for start, end in itertools.pairwise(times)]


def read(x: Tensor, y: Tensor) -> float:
    """Read every number once: a lower bound for an epoch."""
    return seconds(lambda: (x.sum(), y.sum()))


def plain_loop(x: Tensor, y: Tensor, batch: int) -> float:
    """Train in a plain PyTorch loop over slices, without shuffling."""
    net = nn.Linear(x.shape[1], 1)
    optimizer = torch.optim.SGD(net.parameters(), lr=LR)

    def epoch() -> None:
        for start in range(0, len(x), batch):
            _step(net, optimizer, x[start : start + batch], y[start : start + batch])

    return statistics.median(seconds(epoch) for _ in range(3))


def plain_data_loader(x: Tensor, y: Tensor, batch: int) -> float:
    """Train in the same loop over `DataLoader(TensorDataset(x, y), shuffle=True)`."""
    net = nn.Linear(x.shape[1], 1)
    optimizer = torch.optim.SGD(net.parameters(), lr=LR)

    loader = DataLoader(TensorDataset(x, y), batch, shuffle=True)
    ends = [time.perf_counter()]
    for x_batch, y_batch in itertools.islice(loader, MAX_BATCHES):
        _step(net, optimizer, x_batch, y_batch)
        ends.append(time.perf_counter())
    return _whole_epoch(ends, len(loader))


def _whole_epoch(ends: list[float], batches: int) -> float:
    """Extrapolate the seconds of an epoch from the time of its start and the times when its first few batches ended.

    The first batch counts once, since it includes one-time work such as the permutation of all rows.
    """
    first, others = ends[1] - ends[0], (ends[-1] - ends[1]) / max(len(ends) - 2, 1)
    return first + others * (batches - 1)


def _step(net: nn.Module, optimizer: torch.optim.Optimizer, x: Tensor, y: Tensor) -> None:
    optimizer.zero_grad()
    nn.functional.mse_loss(net(x), y).backward()
    optimizer.step()


class StockModule(LightningModule):
    """The LightningModule of Lightning's documentation."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.net = nn.Linear(features, 1)

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        """Log and return the loss."""
        loss = nn.functional.mse_loss(self.net(batch[0]), batch[1])
        self.log("train_loss", loss, prog_bar=True)
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Return plain SGD."""
        return torch.optim.SGD(self.parameters(), lr=LR)


def stock_lightning(x: Tensor, y: Tensor, batch: int) -> float:
    """Train as in Lightning's documentation, with the same `DataLoader`, logger, progress bar and checkpoints."""
    ends: list[float] = []
    loader = DataLoader(TensorDataset(x, y), batch, shuffle=True)
    trainer = Trainer(
        max_epochs=1,
        limit_train_batches=min(len(loader), MAX_BATCHES),
        default_root_dir=tempfile.mkdtemp(),
        callbacks=[LambdaCallback(on_train_epoch_start=recorder(ends), on_train_batch_end=recorder(ends))],
        enable_model_summary=False,
    )
    with contextlib.redirect_stdout(io.StringIO()):
        trainer.fit(StockModule(x.shape[1]), loader)
    return _whole_epoch(ends, len(loader))


def sgd_regressor(x: Tensor, y: Tensor) -> float:
    """Train an epoch of scikit-learn's `SGDRegressor`."""
    from sklearn.linear_model import SGDRegressor

    peer, target = SGDRegressor(learning_rate="constant", eta0=1e-3), y.flatten().numpy()
    return seconds(lambda: peer.partial_fit(x.numpy(), target))
