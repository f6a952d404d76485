"""What is measured, and against what."""

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
from project.least_squares import LeastSquares
from project.models.loss_watch import LossWatch
from project.runs.checkpoint import read_checkpoint
from project.runs.checkpoint_io import VerifiedCheckpointIO
from project.training.cli import ExperimentCLI
from project.training.train import fit

MAX_EXCESS = 1e-3
ROUNDS = 3
# An epoch is the median of nine: the first solves least squares, and those in the middle and at the end draw pictures.
EPOCHS = ("--trainer.max_epochs", "9")
PLAIN, OURS = "plain loop over slices", "hello-lightning"


class Figure(NamedTuple):
    """A measurement: what of whom, in seconds (or what `unit` says), and its ratio to another."""

    what: str
    name: str
    value: float
    ratio: float
    to: str
    unit: str = "s"


def suite(quick: bool) -> Iterator[Figure]:
    """Every figure, one after another; `quick` takes fewer rows, and under a minute."""
    rows, numbers = (400_000, 2**23) if quick else (4_000_000, 2**26)
    yield from epochs(f"epoch, {rows:,} x 64, batch 16,384", rows, 64, 16_384)
    steps = 200 if quick else 1_000
    yield from epochs(f"epoch, {steps:,} steps of 1,024 x 32", steps * 1_024, 32, 1_024)
    yield from exact_answer(rows, 64)
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


def epochs(what: str, rows: int, features: int, batch: int) -> Iterator[Figure]:
    """An epoch of each contestant, in turn, and its ratio to the plain loop's."""
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
        if number == 0:  # they take long, and are far away
            ways["plain loop, DataLoader"] = partial(contestants.plain_data_loader, x, y, batch)
            ways["stock Lightning, DataLoader"] = partial(contestants.stock_lightning, x, y, batch)
        for name, way in ways.items():
            times.setdefault(name, []).append(way())
    medians = {name: statistics.median(values) for name, values in times.items()}
    for name, value in medians.items():
        yield Figure(what, name, value, value / medians[PLAIN], PLAIN)


def train_rows(cli: ExperimentCLI) -> tuple[Tensor, Tensor]:
    """What an experiment trains on."""
    train = cli.datamodule.splits.train
    return train.x, train.y


def step(features: int, batch: int, numbers: int) -> Figure:
    """A step of this project against one of the plain loop, over an epoch of at most so many numbers."""
    steps = max(16, min(1_000, numbers // (features * batch)))
    pairs = []
    for _ in range(ROUNDS):
        cli = experiment(steps * batch, features, batch, *EPOCHS)
        x, y = train_rows(cli)
        pairs.append((statistics.median(project_epochs(cli)), contestants.plain_loop(x, y, batch)))
    ours, plain = (statistics.median(values) / steps * 1e3 for values in zip(*pairs, strict=True))
    return Figure(f"step, {features:,} features, batch {batch:,}", OURS, ours, ours / plain, PLAIN, "ms")


def exact_answer(rows: int, features: int) -> Iterator[Figure]:
    """The exact least squares answer of rows in memory."""
    from sklearn.linear_model import LinearRegression

    x, y = train_rows(experiment(rows, features, 1_024))

    def solve() -> None:
        metric = LeastSquares(features, 1)
        metric.update(x, y)
        metric.compute()

    peer = seconds(lambda: LinearRegression().fit(x.numpy(), y.numpy()))
    ours = statistics.median(seconds(solve) for _ in range(ROUNDS))
    what, name = f"exact answer, {rows:,} x {features}", "scikit-learn LinearRegression"
    yield Figure(what, OURS, ours, ours / peer, f"{name} ({peer:.2f} s)")


def time_to_exact(rows: int, features: int) -> Iterator[Figure]:
    """Training until the MSE is at most 0.1 % above the exact one, everything from rows in memory included."""
    from sklearn.linear_model import LinearRegression, SGDRegressor

    what = f"to 0.1 % above the exact MSE, {rows:,} x {features}"
    batch = 4_096 if rows < 1_000_000 else 16_384
    cli = experiment(rows, features, batch, "--optimizer.lr", "0.05", "--trainer.max_epochs", "1")
    x, y = (values.numpy() for values in train_rows(cli))
    ours, gap, exact = seconds(lambda: project_epochs(cli)), cli.exact_answer.gap, cli.datamodule.least_squares
    ours = ours if gap is not None and gap <= MAX_EXCESS else float("nan")
    solver = seconds(lambda: LinearRegression().fit(x, y))
    # Its rate is the largest power of ten whose noise stays below 0.1 %: it gets there in an epoch or two.
    peer, epochs_time = SGDRegressor(learning_rate="constant", eta0=1e-5), 0.0
    for _ in range(20):
        epochs_time += seconds(lambda: peer.partial_fit(x, y[:, 0]))
        weights = exact.weights.new_tensor(peer.coef_)[:, None]
        if exact.mse_of(weights, exact.bias.new_tensor(peer.intercept_)) <= (1 + MAX_EXCESS) * exact.mse:
            break
    for name, value in [("LinearRegression", solver), ("SGDRegressor", epochs_time)]:
        yield Figure(what, OURS, ours, ours / value, f"scikit-learn {name} ({value:.2f} s)")


def growth(sizes: list[int]) -> Iterator[Figure]:
    """Rows a second as rows grow, beside those of the smallest set but one."""
    speeds = {}
    for rows in sizes:
        cli = experiment(rows, 16, 4_096, *EPOCHS)
        speeds[rows] = rows / statistics.median(project_epochs(cli))
    for rows, speed in speeds.items():
        yield Figure(
            "rows a second, 16 features", f"{rows:,} rows", speed, speed / speeds[100_000], "100,000 rows", "/s"
        )


def guards() -> Iterator[Figure]:
    """What it costs to lose nothing: a look at each step's loss, and a checkpoint that survives."""
    cli = experiment(1_024 * 100, 32, 1_024, *EPOCHS)
    project_epochs(cli)
    step_time = contestants.plain_loop(*train_rows(cli), 1_024) / 100
    watch, loss = LossWatch(cli.model), torch.tensor(1.0)
    look = statistics.median(seconds(lambda: watch.see(loss, 1)) for _ in range(10_000))
    yield Figure("a look at a step's loss", OURS, look * 1e6, look / step_time, "a plain step of 1,024 x 32", "µs")

    folder = Path(tempfile.mkdtemp())
    assert cli.best is not None
    checkpoint = read_checkpoint(Path(cli.best.best_model_path))
    ways = {OURS: VerifiedCheckpointIO(), "Lightning": TorchCheckpointIO()}
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(50):
        for name, way in ways.items():
            times[name].append(seconds(lambda way=way: way.save_checkpoint(checkpoint, folder / "a.ckpt")))  # type: ignore[misc]
    ours, theirs = (statistics.median(values) * 1e3 for values in times.values())
    yield Figure("save of a small checkpoint", OURS, ours, ours / theirs, "Lightning's own, which may be lost", "ms")


def peak_memory(rows: int, features: int) -> Figure:
    """Peak memory of a whole training in a process of its own, less what it has before there are rows."""
    call = f"from benchmarks.suite import grown_memory; print(*grown_memory({rows}, {features}))"
    done = subprocess.run([sys.executable, "-c", call], capture_output=True, text=True, check=True)
    grown, size = map(int, done.stdout.splitlines()[-1].split())
    return Figure("peak memory in training", OURS, grown / 2**20, grown / size, "the rows' own size", "MiB")


def grown_memory(rows: int, features: int) -> tuple[int, int]:
    """Bytes by which training raises this process's memory at its peak, and the bytes of its rows."""
    fit(experiment(10_000, features, 4_096, "--trainer.max_epochs", "1"))  # all libraries have what they need
    Path("/proc/self/clear_refs").write_text("5")  # Linux starts to look for a new peak
    before = _status("VmRSS")
    cli = experiment(rows, features, 4_096, "--trainer.max_epochs", "2")
    fit(cli)
    return _status("VmHWM") - before, sum(rows.x.nbytes + rows.y.nbytes for rows in cli.datamodule.splits)


def _status(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(name))


def start_up(rounds: int) -> Figure:
    """The default `train.py`, beside the import of Lightning alone."""
    script = Path(__file__).parents[2] / "scripts" / "train.py"

    def run(*args: Any) -> float:
        with tempfile.TemporaryDirectory() as folder:
            return seconds(lambda: subprocess.run([sys.executable, *args], cwd=folder, check=True, capture_output=True))

    pairs = [(run(script), run("-c", "import lightning.pytorch")) for _ in range(rounds)]
    ours, imported = (statistics.median(values) for values in zip(*pairs, strict=True))
    return Figure("python scripts/train.py", OURS, ours, ours / imported, "import lightning.pytorch")
