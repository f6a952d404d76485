"""The benchmarks of training on a GPU: each contestant on the same rows, in turn, relative to a plain PyTorch loop."""

import itertools
import statistics
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import LambdaCallback
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from benchmarks.contestants import StockModule, configured, experiment, project_epochs, recorder, seconds
from benchmarks.suite import EPOCHS, OURS, PLAIN, Measurement, train_rows
from project.models.supervised import Supervised
from project.runtime.errors import UserError
from project.training.cli import ExperimentCLI

EXPERIMENTS = Path(__file__).parents[1] / "experiments"
GRAPH, STOCK = "plain loop, as a CUDA graph", "stock Lightning, DataLoader"
# Warm-up steps of a CUDA graph, as in torch's documentation.
WARM_UP = 3


class Peer(NamedTuple):
    """The net, optimizer, loss and prepared rows of one of this project's trainings, for a plain loop."""

    net: nn.Module
    optimizer: torch.optim.Optimizer
    criterion: nn.Module
    x: Tensor
    y: Tensor
    batch: int
    precision: torch.dtype = torch.float32


def gpu(quick: bool, device: str) -> Iterator[Measurement]:
    """Measure everything, one after another, on the device `cuda`, or `cpu` to test the benchmark itself."""
    if device == "cuda" and not torch.cuda.is_available():
        raise UserError("--device cuda: there is no GPU here; use --device cpu to run the benchmark without one")
    build = partial(build_on, device)
    steps, rows = (100, 50_000) if quick else (1_000, 4_000_000)
    yield from against_plain_loop(f"{steps:,} steps of 32 x 1", partial(build, steps * 32, 1, 32), device)
    yield from against_plain_loop(f"epoch, {rows:,} x 64, batch 16,384", partial(build, rows, 64, 16_384), device)
    for name in ("digits_cnn", "digits_lstm", "series_transformer"):
        way = partial(configured, "--config", str(EXPERIMENTS / f"{name}.yaml"), *accelerator(device))
        yield from against_plain_loop(f"epoch of {name}", way, device, stock=False)
    yield from large_net(build, device, 128 if quick else 2_048)
    yield from elsewhere(build, device, rows // 4)


def accelerator(device: str) -> tuple[str, str]:
    """Return the flag that trains on a device."""
    return "--trainer.accelerator", "gpu" if device == "cuda" else "cpu"


def build_on(device: str, rows: int, features: int, batch: int, *args: str) -> ExperimentCLI:
    """Build a training of a linear model on a device."""
    return experiment(rows, features, batch, *accelerator(device), *args)


def against_plain_loop(
    what: str, build: Callable[..., ExperimentCLI], device: str, stock: bool = True
) -> Iterator[Measurement]:
    """Measure an epoch of this project, of plain loops over rows on the device, and of stock Lightning."""
    ours, times = build(*EPOCHS), {PLAIN: 0.0}
    times[OURS] = statistics.median(project_epochs(ours))
    times[PLAIN] = plain_epoch(peer_of(ours, device))
    times["plain loop, shuffled on the device"] = plain_epoch(peer_of(ours, device), shuffle=True)
    if device == "cuda":
        times[GRAPH] = plain_epoch(peer_of(ours, device), graph=True)
        times[f"{OURS}, cuda_graph"] = statistics.median(project_epochs(build(*EPOCHS, "--model.cuda_graph", "true")))
    if stock:
        times[STOCK] = stock_epoch(*train_rows(ours), ours.datamodule.batch_size, device)
    for name, value in times.items():
        yield Measurement(what, name, value, value / times[PLAIN], PLAIN)


def large_net(build: Callable[..., ExperimentCLI], device: str, width: int) -> Iterator[Measurement]:
    """Measure a net whose matrix products take most of the time, in float32, in bfloat16, and compiled."""
    net = ("--model.net", "MLP", "--model.net.hidden", f"[{width}, {width}, {width}]", "--optimizer", "Adam")
    unsaved = ("--trainer.enable_checkpointing", "false")  # a checkpoint takes as long as many steps
    way = partial(build, 4_096 * 64, 64, 4_096, *net, *EPOCHS, *unsaved)
    what, plain = f"64 steps of an MLP, three layers of {width:,}, 4,096 rows", {}
    ours = {"32-true": way(), "bf16-mixed": way("--trainer.precision", "bf16-mixed")}
    times = {name: statistics.median(project_epochs(cli)) for name, cli in ours.items()}
    for name, dtype in (("32-true", torch.float32), ("bf16-mixed", torch.bfloat16)):
        plain[name] = plain_epoch(peer_of(ours[name], device)._replace(precision=dtype))
        to = f"the same loop in {name}"
        yield Measurement(what, f"{OURS}, {name}", times[name], times[name] / plain[name], to)
    yield Measurement(
        what, f"{OURS}, bf16-mixed", times["bf16-mixed"], times["bf16-mixed"] / times["32-true"], f"{OURS}, 32-true"
    )
    compiled = statistics.median(project_epochs(way("--model.compile", "true")))
    yield Measurement(what, f"{OURS}, compiled", compiled, compiled / times["32-true"], f"{OURS}, 32-true")


def elsewhere(build: Callable[..., ExperimentCLI], device: str, rows: int) -> Iterator[Measurement]:
    """Measure an epoch with rows on the device, with rows that do not fit there, and with worker processes."""
    what, way = f"epoch, {rows:,} x 64, batch 4,096", partial(build, rows, 64, 4_096, *EPOCHS)
    times = {"rows on the device": statistics.median(project_epochs(way()))}
    with occupied(device, 4 * rows * 64 * 2):
        times["rows in the processor's memory"] = statistics.median(project_epochs(way()))
    times["4 worker processes"] = statistics.median(project_epochs(way("--data.num_workers", "4")))
    for name, value in times.items():
        yield Measurement(what, f"{OURS}, {name}", value, value / times["rows on the device"], "rows on the device")


@contextmanager
def occupied(device: str, free: int) -> Iterator[None]:
    """Leave only a number of bytes of a GPU's memory free."""
    size = torch.cuda.mem_get_info()[0] - free if device == "cuda" else 0
    ballast = torch.empty(size, dtype=torch.uint8, device=device)
    yield
    del ballast
    if device == "cuda":
        torch.cuda.empty_cache()


def peer_of(cli: ExperimentCLI, device: str) -> Peer:
    """Return the parts of a finished training that a plain loop needs."""
    model = cli.model
    assert isinstance(model, Supervised)
    model.to(device)
    x, y = (values.to(device) for values in train_rows(cli))
    net = model.net.net.train()
    with torch.no_grad():
        prepared = model.prepare(x, y)
    optimizer = model.optimizer(net.parameters())
    for group in optimizer.param_groups:
        if "capturable" in group:
            group["capturable"] = device == "cuda"
    return Peer(net, optimizer, model.criterion, prepared.inputs, prepared.targets, cli.datamodule.batch_size)


def plain_epoch(peer: Peer, shuffle: bool = False, graph: bool = False) -> float:
    """Return the median of five epochs of a plain loop over slices, or over shuffled rows."""
    net, optimizer, criterion, x, y, batch, precision = peer

    def step(x: Tensor, y: Tensor) -> None:
        optimizer.zero_grad()
        with torch.autocast(x.device.type, precision, enabled=precision != torch.float32):
            loss = criterion(net(x), y)
        loss.backward()
        optimizer.step()

    take = captured(step, x[:batch], y[:batch]) if graph else step

    def epoch() -> None:
        order = torch.randperm(len(x), device=x.device) if shuffle else None
        for start in range(0, len(x), batch):
            index = slice(start, start + batch)
            x_batch, y_batch = (x[index], y[index]) if order is None else (x[order[index]], y[order[index]])
            (take if len(x_batch) == batch else step)(x_batch, y_batch)
        if x.device.type == "cuda":
            torch.cuda.synchronize()

    epoch()
    return statistics.median(seconds(epoch) for _ in range(5))


def captured(step: Callable[[Tensor, Tensor], None], x: Tensor, y: Tensor) -> Callable[[Tensor, Tensor], None]:
    """Capture a step as a CUDA graph, which launches all of its kernels at once."""
    static, stream = (x.clone(), y.clone()), torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(WARM_UP):
            step(*static)
    torch.cuda.current_stream().wait_stream(stream)
    recorded = torch.cuda.CUDAGraph()
    with torch.cuda.graph(recorded):
        step(*static)

    def replay(*batch: Tensor) -> None:
        for target, values in zip(static, batch, strict=True):
            target.copy_(values)
        recorded.replay()

    return replay


def stock_epoch(x: Tensor, y: Tensor, batch: int, device: str) -> float:
    """Train as Lightning's documentation does for a GPU, with pinned memory; extrapolated from a few batches."""
    loader = DataLoader(TensorDataset(x, y), batch, shuffle=True, pin_memory=device == "cuda")
    few = min(len(loader), max(16, 2**18 // batch))
    times: list[float] = []
    trainer = Trainer(
        accelerator="gpu" if device == "cuda" else "cpu",
        devices=1,
        max_epochs=2,
        limit_train_batches=few,
        default_root_dir=tempfile.mkdtemp(),
        callbacks=[LambdaCallback(on_train_epoch_start=recorder(times), on_train_end=recorder(times))],
        enable_model_summary=False,
    )
    trainer.fit(StockModule(x.shape[1]), loader)
    return [end - start for start, end in itertools.pairwise(times)][-1] * len(loader) / few
