"""The benchmarks of training: measurements, and what they are compared with."""

import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from lightning.fabric.plugins import TorchCheckpointIO
from torch import Tensor

from benchmarks import contestants
from benchmarks.contestants import experiment, project_epochs, seconds
from benchmarks.exactness import wrong_one_hot_designs
from project.least_squares import LeastSquares
from project.models.loss_watch import LossWatch
from project.runs.checkpoint import read_checkpoint
from project.runs.checkpoint_io import VerifiedCheckpointIO
from project.training.cli import ExperimentCLI
from project.training.train import fit

SCRIPTS = Path(__file__).parents[1]
MAX_EXCESS = 1e-3
ROUNDS = 3
# An epoch is the median of nine: the first one solves least squares, and three draw figures.
EPOCHS = ("--trainer.max_epochs", "9")
PLAIN, OURS = "plain loop over slices", "hello-lightning"


class Measurement(NamedTuple):
    """One measured value and its ratio to another.

    Attributes:
        what: Description of the measurement.
        name: The contestant.
        value: In seconds, or in `unit`.
        ratio: The value divided by that of `to`.
        to: The contestant to compare with.
    """

    what: str
    name: str
    value: float
    ratio: float
    to: str
    unit: str = "s"


def suite(quick: bool) -> Iterator[Measurement]:
    """Measure everything, one after another; `quick` uses fewer rows and takes less than a minute."""
    rows, numbers = (400_000, 2**23) if quick else (4_000_000, 2**26)
    yield from epochs(f"epoch, {rows:,} x 64, batch 16,384", rows, 64, 16_384)
    steps = 200 if quick else 1_000
    yield from epochs(f"epoch, {steps:,} steps of 1,024 x 32", steps * 1_024, 32, 1_024)
    yield from exact_answer(rows, 64)
    yield from exact_answer(64, 6_829, torch.float64)  # which takes scikit-learn twice as long as float32
    yield one_hot_designs(20 if quick else 1_000)
    yield from time_to_exact(rows, 64)
    yield from growth([10_000, 100_000, 1_000_000] if quick else [10_000, 100_000, 1_000_000, 10_000_000])
    shapes = [(1, 1_024), (32, 32)] if quick else [(1, 1_024), (8, 1_024), (256, 1_024), (1_024, 1_024)]
    batches = [] if quick else [(32, 32), (32, 256), (32, 8_192), (32, 65_536)]
    for features, batch in [*shapes, *batches]:
        yield step(features, batch, numbers)
    yield from guards()
    if sys.platform == "linux":
        yield peak_memory(rows, 64)
    yield start_up(1 if quick else ROUNDS)


def epochs(what: str, rows: int, features: int, batch: int) -> Iterator[Measurement]:
    """Measure an epoch of each contestant in turn, relative to the plain loop."""
    times: dict[str, list[float]] = {}
    for number in range(ROUNDS):
        cli = experiment(rows, features, batch, *EPOCHS)
        x, y = train_rows(cli)
        ways: dict[str, Callable[[], float]] = {
            PLAIN: partial(contestants.plain_loop, x, y, batch),
            OURS: lambda cli=cli: statistics.median(project_epochs(cli)),  # type: ignore[misc]
            "reading the memory once": partial(contestants.read, x, y),
            "scikit-learn SGDRegressor": partial(contestants.sgd_regressor, x, y),
        }
        if number == 0:  # slow, and not close to the others: one round is enough
            ways["plain loop, DataLoader"] = partial(contestants.plain_data_loader, x, y, batch)
            ways["stock Lightning, DataLoader"] = partial(contestants.stock_lightning, x, y, batch)
        for name, way in ways.items():
            times.setdefault(name, []).append(way())
    medians = {name: statistics.median(values) for name, values in times.items()}
    for name, value in medians.items():
        yield Measurement(what, name, value, value / medians[PLAIN], PLAIN)


def train_rows(cli: ExperimentCLI) -> tuple[Tensor, Tensor]:
    """Return the training inputs and targets of an experiment."""
    train = cli.datamodule.splits.train
    return train.x, train.y


def step(features: int, batch: int, numbers: int) -> Measurement:
    """Measure a step of this project relative to the plain loop, over an epoch of at most `numbers` input values."""
    steps = max(16, min(1_000, numbers // (features * batch)))
    pairs = []
    for _ in range(ROUNDS):
        cli = experiment(steps * batch, features, batch, *EPOCHS)
        x, y = train_rows(cli)
        pairs.append((statistics.median(project_epochs(cli)), contestants.plain_loop(x, y, batch)))
    ours, plain = (statistics.median(values) / steps * 1e3 for values in zip(*pairs, strict=True))
    return Measurement(f"step, {features:,} features, batch {batch:,}", OURS, ours, ours / plain, PLAIN, "ms")


def exact_answer(rows: int, features: int, dtype: torch.dtype = torch.float32) -> Iterator[Measurement]:
    """Measure the exact least squares answer of rows in memory."""
    from sklearn.linear_model import LinearRegression

    x, y = (part.to(dtype) for part in train_rows(experiment(rows, features, 1_024)))

    def solve() -> None:
        metric = LeastSquares(features, 1)
        metric.update(x, y)
        metric.compute()

    peer = statistics.median(seconds(lambda: LinearRegression().fit(x.numpy(), y.numpy())) for _ in range(ROUNDS))
    ours = statistics.median(seconds(solve) for _ in range(ROUNDS))
    what, name = f"exact answer, {rows:,} x {features}", "scikit-learn LinearRegression"
    yield Measurement(what, OURS, ours, ours / peer, f"{name} ({peer:.2f} s)")


def one_hot_designs(count: int) -> Measurement:
    """Count random one-hot designs whose exact answer differs from NumPy's on scaled columns."""
    wrong = wrong_one_hot_designs(count)
    return Measurement("one-hot designs that differ from NumPy", OURS, wrong, wrong / count, f"{count:,} designs", "")


def time_to_exact(rows: int, features: int) -> Iterator[Measurement]:
    """Measure training from rows in memory until the MSE is at most 0.1 % above the exact one."""
    from sklearn.linear_model import LinearRegression, SGDRegressor

    what = f"to 0.1 % above the exact MSE, {rows:,} x {features}"
    batch = 4_096 if rows < 1_000_000 else 16_384
    cli = experiment(rows, features, batch, "--optimizer.lr", "0.05", "--trainer.max_epochs", "1")
    x, y = (values.numpy() for values in train_rows(cli))
    ours, gap = seconds(lambda: project_epochs(cli)), cli.experiment.exact_answer.gap
    exact = cli.datamodule.least_squares
    ours = ours if gap is not None and gap <= MAX_EXCESS else float("nan")
    solver = seconds(lambda: LinearRegression().fit(x, y))
    # This learning rate is the largest power of ten whose noise stays below 0.1 %; one or two epochs suffice.
    peer, epochs_time = SGDRegressor(learning_rate="constant", eta0=1e-5), 0.0
    for _ in range(20):
        epochs_time += seconds(lambda: peer.partial_fit(x, y[:, 0]))
        weights = exact.weights.new_tensor(peer.coef_)[:, None]
        if exact.mse_of(weights, exact.bias.new_tensor(peer.intercept_)) <= (1 + MAX_EXCESS) * exact.mse:
            break
    for name, value in [("LinearRegression", solver), ("SGDRegressor", epochs_time)]:
        yield Measurement(what, OURS, ours, ours / value, f"scikit-learn {name} ({value:.2f} s)")


def growth(sizes: list[int]) -> Iterator[Measurement]:
    """Measure rows per second for growing data sets, relative to 100,000 rows."""
    speeds = {}
    for rows in sizes:
        cli = experiment(rows, 16, 4_096, *EPOCHS)
        speeds[rows] = rows / statistics.median(project_epochs(cli))
    for rows, speed in speeds.items():
        yield Measurement(
            "rows per second, 16 features", f"{rows:,} rows", speed, speed / speeds[100_000], "100,000 rows", "/s"
        )


def guards() -> Iterator[Measurement]:
    """Measure the cost of two safeguards: the check of each step's loss, and a checkpoint that survives a crash."""
    cli = experiment(1_024 * 100, 32, 1_024, *EPOCHS)
    project_epochs(cli)
    step_time = contestants.plain_loop(*train_rows(cli), 1_024) / 100
    watch, loss = LossWatch(cli.model), torch.tensor(1.0)
    check = statistics.median(seconds(lambda: watch.check(loss, 1)) for _ in range(10_000))
    yield Measurement(
        "check of a step's loss", OURS, check * 1e6, check / step_time, "a plain step of 1,024 x 32", "µs"
    )

    folder = Path(tempfile.mkdtemp())
    assert cli.experiment.best is not None
    checkpoint = read_checkpoint(Path(cli.experiment.best.best_model_path))
    ways = {OURS: VerifiedCheckpointIO(), "Lightning": TorchCheckpointIO()}
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(50):
        for name, way in ways.items():
            times[name].append(seconds(lambda way=way: way.save_checkpoint(checkpoint, folder / "a.ckpt")))  # type: ignore[misc]
    ours, theirs = (statistics.median(values) * 1e3 for values in times.values())
    yield Measurement("save of a small checkpoint", OURS, ours, ours / theirs, "Lightning's own, without fsync", "ms")


def peak_memory(rows: int, features: int) -> Measurement:
    """Measure peak memory of a training in a separate process, minus its memory before it generates rows."""
    call = f"from benchmarks.suite import grown_memory; print(*grown_memory({rows}, {features}))"
    done = subprocess.run([sys.executable, "-c", call], capture_output=True, text=True, check=True, env=environment())
    grown, size = map(int, done.stdout.splitlines()[-1].split())
    return Measurement("peak memory in training", OURS, grown / 2**20, grown / size, "the rows' own size", "MiB")


def environment() -> dict[str, str]:
    """Return environment variables with which a child process can import this package."""
    return os.environ | {"PYTHONPATH": str(SCRIPTS)}


def grown_memory(rows: int, features: int) -> tuple[int, int]:
    """Return the bytes by which training raises this process's peak memory, and the bytes of its rows."""
    fit(experiment(10_000, features, 4_096, "--trainer.max_epochs", "1"))  # libraries allocate their buffers
    Path("/proc/self/clear_refs").write_text("5")  # resets the peak that Linux reports
    before = _status("VmRSS")
    cli = experiment(rows, features, 4_096, "--trainer.max_epochs", "2")
    fit(cli)
    return _status("VmHWM") - before, sum(rows.x.nbytes + rows.y.nbytes for rows in cli.datamodule.splits)


def _status(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(name))


def start_up(rounds: int) -> Measurement:
    """Measure the default `train.py` relative to the import of Lightning alone."""
    script = SCRIPTS / "train.py"

    def run(*args: Any) -> float:
        with tempfile.TemporaryDirectory() as folder:
            return seconds(lambda: subprocess.run([sys.executable, *args], cwd=folder, check=True, capture_output=True))

    pairs = [(run(script), run("-c", "import lightning.pytorch")) for _ in range(rounds)]
    ours, imported = (statistics.median(values) for values in zip(*pairs, strict=True))
    return Measurement("python scripts/train.py", OURS, ours, ours / imported, "import lightning.pytorch")
