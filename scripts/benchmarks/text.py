"""The benchmarks of language models: training compared with a plain PyTorch loop, precisions, generation, scores."""

import contextlib
import io
import itertools
import statistics
import time
from collections.abc import Iterator
from functools import partial
from typing import Any

import torch
from lightning.pytorch.callbacks import LambdaCallback
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from benchmarks.contestants import configured, recorder, seconds
from benchmarks.suite import OURS, Measurement
from project.inference.evaluate import measure
from project.models.next_logits import TorchLogits
from project.nets import GPT
from project.training.cli import ExperimentCLI
from project.training.train import fit

LOOP, UNCACHED = "plain PyTorch loop", "without the cache"
ROUNDS, WARM_UP = 3, 3  # each contestant in turn, and steps that are not counted
DATA = ("--data", "TextDataModule", "--data.path", "kjv", "--data.val_fraction", "0.01", "--data.test_fraction", "0.01")
MODEL = ("--model", "LanguageModel", "--optimizer", "MuonAdamW", "--lr_scheduler", "WarmupStable")
FIVE_MILLION = ("--model.net.width", "256", "--model.net.layers", "6", "--model.net.heads", "8")
WAYS = {
    "float32": (),
    "bfloat16": ("--trainer.precision", "bf16-mixed"),
    "float32, compiled": ("--model.compile", "true"),
    "bfloat16, compiled": ("--trainer.precision", "bf16-mixed", "--model.compile", "true"),
}


def text(quick: bool) -> Iterator[Measurement]:
    """Measure everything, one after another."""
    yield from against_plain_loop(10 if quick else 40)
    yield from precisions(4 if quick else 20, WAYS if not quick else dict(itertools.islice(WAYS.items(), 2)))
    yield from generation(64 if quick else 256)
    yield batch_sizes([1, 64] if quick else [1, 2, 4, 8, 16, 32, 64])


def against_plain_loop(steps: int, *args: str) -> Iterator[Measurement]:
    """Measure training steps, with everything that a run does in each, and those of a plain loop of the same net."""
    times: dict[str, list[float]] = {LOOP: [], OURS: []}
    for _ in range(ROUNDS):
        cli = language_model(*args)
        times[OURS] += step_seconds(cli, steps)
        times[LOOP] += plain_steps(cli, steps)
    tokens = cli.datamodule.batch_size * cli.datamodule.in_shape[0]
    speeds = {name: tokens / statistics.median(values) for name, values in times.items()}
    for name, speed in speeds.items():
        yield Measurement("tokens per second in training", name, speed, speed / speeds[LOOP], LOOP, "/s")


def precisions(steps: int, ways: dict[str, tuple[str, ...]], *args: str) -> Iterator[Measurement]:
    """Measure training steps of a larger net in bfloat16 and compiled; the first steps, which compile, do not count."""
    times = {}
    for name, way in ways.items():
        cli = language_model(*FIVE_MILLION, *way, *args)
        times[name] = statistics.median(step_seconds(cli, steps))
    size = sum(parameter.numel() for parameter in cli.model.parameters())
    for name, value in times.items():
        what = f"step, {size / 1e6:.1f} million parameters"
        yield Measurement(what, name, value, times["float32"] / value, "float32, as fast")


def generation(count: int, **sizes: int) -> Iterator[Measurement]:
    """Measure the most likely continuation of one token, with keys and values kept and computed again each time."""
    torch.manual_seed(0)
    net = GPT((count + 1,), 1_024, zero_init=False, **sizes).eval()  # type: ignore[arg-type]
    ways: dict[str, nn.Module] = {OURS: net, UNCACHED: Uncached(net)}
    written = {name: continuation(way, count) for name, way in ways.items()}
    assert written[OURS] == written[UNCACHED]
    times = {
        name: statistics.median(seconds(partial(continuation, way, count)) for _ in range(ROUNDS))
        for name, way in ways.items()
    }
    for name, value in times.items():
        yield Measurement(f"{count} tokens", name, value, times[UNCACHED] / value, f"{UNCACHED}, as fast")


def batch_sizes(sizes: list[int], *args: str) -> Measurement:
    """Measure how much the bits per byte of one model differ between batch sizes, relative to them."""
    small = ("--model.net.width", "64", "--model.net.layers", "2", *args)
    cli = language_model(*small)
    step_seconds(cli, 10)
    state, found = cli.model.state_dict(), []
    for size in sizes:
        other = language_model(*small, "--data.batch_size", f"{size}")
        other.model.load_state_dict(state)
        with contextlib.redirect_stdout(io.StringIO()):
            found.append(measure(other)["test/bits_per_byte"])
    spread = max(found) - min(found)
    what = f"bits per byte at batches of {sizes[0]} to {sizes[-1]}: largest difference"
    return Measurement(what, OURS, spread, spread / found[0], "the bits per byte", "")


def language_model(*args: str) -> ExperimentCLI:
    """Build the training of a language model as the command line does."""
    return configured(*DATA, *MODEL, *args)


def step_seconds(cli: ExperimentCLI, steps: int) -> list[float]:
    """Train, and return the seconds of each step after the first few."""
    times: list[float] = []
    cli.trainer.callbacks.append(LambdaCallback(on_train_batch_end=recorder(times)))  # type: ignore[attr-defined]
    cli.trainer.limit_train_batches, cli.trainer.limit_val_batches = WARM_UP + steps, 1
    cli.trainer.fit_loop.max_epochs = 1
    with contextlib.redirect_stdout(io.StringIO()):
        fit(cli)
    return [end - start for start, end in itertools.pairwise(times)][WARM_UP - 1 :]


def plain_steps(cli: ExperimentCLI, steps: int) -> list[float]:
    """Return the seconds of each step of a loop over random windows of the same tokens, as nanoGPT draws them."""
    model: Any = cli.model
    net, data, optimizer = model.net.net.train(), cli.datamodule, model.configure_optimizers()["optimizer"]
    tokens, (context,), batch = data.splits.train.tokens, data.in_shape, data.batch_size
    offsets, times = torch.arange(context + 1), []
    for _ in range(WARM_UP + steps):
        start = time.perf_counter()
        rows = tokens[torch.randint(len(tokens) - context, (batch, 1)) + offsets].long()
        loss = cross_entropy(net(rows[:, :-1]).flatten(0, 1), rows[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        times.append(time.perf_counter() - start)
    return times[WARM_UP:]


def continuation(net: nn.Module, count: int) -> list[int]:
    """Return the most likely tokens after token 0."""
    next_logits, tokens = TorchLogits(net, count + 1), [0]
    for _ in range(count):
        tokens.append(int(next_logits([tokens[-1:]]).argmax()))
    return tokens[1:]


class Uncached(nn.Module):
    """A net that computes all tokens again for each new one."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        """(B, T) tokens -> (B, T, vocabulary) logits."""
        return self.net(x)
