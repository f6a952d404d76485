"""The benchmark of several processes: an epoch of this project and of a plain `DistributedDataParallel` loop.

`python -m benchmarks.processes ours|plain ROWS FEATURES BATCH` is one of these processes.
"""

import os
import socket
import statistics
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from benchmarks.contestants import LR, experiment, project_epochs, seconds
from benchmarks.suite import EPOCHS, OURS, Measurement

PLAIN = "plain DistributedDataParallel loop over slices"
SCRIPTS = Path(__file__).parents[1]


def processes(quick: bool) -> Iterator[Measurement]:
    """Measure epochs of a large and of a small linear training on 1, 2 and 4 processes, one thread each."""
    for rows, features, batch in ((200_000 if quick else 2_000_000, 64, 16_384), (2_000, 4, 32)):
        alone = None
        for count in (1, 2) if quick or (os.cpu_count() or 1) < 4 else (1, 2, 4):
            what = f"epoch, {rows:,} x {features}, batch {batch:,}, processes: {count}"
            plain, ours = (epoch_of(count, way, rows, features, batch) for way in ("plain", "ours"))
            yield Measurement(what, PLAIN, plain, 1.0, PLAIN)
            yield Measurement(what, OURS, ours, ours / plain, PLAIN)
            alone = alone or ours
            yield Measurement(what, OURS, ours, ours / alone, f"{OURS}, 1 process")


def epoch_of(count: int, way: str, rows: int, features: int, batch: int) -> float:
    """Return the seconds of an epoch on a number of processes."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    job = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(count), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "benchmarks.processes", way, str(rows), str(features), str(batch)]
    ranks = [
        subprocess.Popen(
            command,
            cwd=SCRIPTS,
            env=os.environ | job | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        for rank in range(count)
    ]
    printed = [rank.communicate()[0] for rank in ranks]
    if any(rank.returncode for rank in ranks):
        raise RuntimeError(f"a process of {' '.join(command)} failed")
    return float(printed[0].split()[-1])


def ours_epoch(rows: int, features: int, batch: int) -> float:
    """Train as the command line does, in this process of several."""
    ddp = ("--trainer.accelerator", "cpu", "--trainer.strategy", "ddp", "--trainer.devices", os.environ["WORLD_SIZE"])
    return statistics.median(project_epochs(experiment(rows, features, batch, *EPOCHS, *ddp)))


def plain_epoch(rows: int, features: int, batch: int) -> float:
    """Train in a plain loop over slices, without shuffling, in this process of several."""
    dist.init_process_group("gloo")
    size = batch * dist.get_world_size()
    first = batch * dist.get_rank()
    x, y = torch.randn(rows, features), torch.randn(rows, 1)
    net = DistributedDataParallel(nn.Linear(features, 1))
    optimizer = torch.optim.SGD(net.parameters(), lr=LR)

    def epoch() -> None:
        for start in range(first, rows // size * size, size):
            optimizer.zero_grad()
            nn.functional.mse_loss(net(x[start : start + batch]), y[start : start + batch]).backward()
            optimizer.step()

    return statistics.median(seconds(epoch) for _ in range(5))


if __name__ == "__main__":
    way, *shape = sys.argv[1:]
    print((ours_epoch if way == "ours" else plain_epoch)(*map(int, shape)))
