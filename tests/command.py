"""Run commands as a user types them, each in its own process.

Most are forked from a process that has imported every library, since imports take longer than a small experiment.
"""

import multiprocessing
import os
import runpy
import signal
import socket
import subprocess
import sys
import tempfile
import warnings
from contextlib import chdir
from multiprocessing import forkserver
from multiprocessing.context import ForkServerContext
from pathlib import Path

from project.runtime.signals import SIGNALS
from tests.fork_server import ADDRESS, use_shared

REPOSITORY = Path(__file__).parents[1]
MAX_LENGTH = 900.0  # seconds, to end a hang; a busy machine is slow


def forks() -> ForkServerContext:
    """Return the context whose processes are forked from one that has imported tests.preload.

    On a machine with a GPU it has imported nothing: CUDA, once it has been used, does not survive a fork.
    """
    import torch

    context = multiprocessing.get_context("forkserver")
    if ADDRESS in os.environ:
        use_shared(os.environ[ADDRESS])
        return context
    context.set_forkserver_preload([] if torch.cuda.is_available() else ["tests.preload"])
    with chdir(REPOSITORY):  # where it is found
        forkserver.ensure_running()
    return context


def script_path(script: str) -> Path:
    return REPOSITORY / "scripts" / f"{script}.py"


class Command:
    """A running script in its own process group; `finish` waits for it."""

    def __init__(self, folder: Path, script: str, *args: object, **environment: str) -> None:
        self.argv = [str(script_path(script)), *map(str, args)]
        self._streams = [tempfile.NamedTemporaryFile("r+") for _ in range(2)]  # noqa: SIM115
        names = [stream.name for stream in self._streams]
        self._process = forks().Process(
            target=_run, args=(self.argv, str(folder), names, dict(os.environ), environment)
        )
        self._process.start()
        assert self._process.pid
        self.pid = self._process.pid

    @property
    def stdout(self) -> str:
        """Return what it has printed so far."""
        return Path(self._streams[0].name).read_text()

    @property
    def stderr(self) -> str:
        """Return its error output so far."""
        return Path(self._streams[1].name).read_text()

    @property
    def running(self) -> bool:
        return self._process.is_alive()

    def finish(self, timeout: float = MAX_LENGTH) -> subprocess.CompletedProcess[str]:
        self._process.join(timeout)
        if self._process.exitcode is None:
            self._process.kill()
            raise subprocess.TimeoutExpired(self.argv, timeout, self.stdout, self.stderr.encode())
        return subprocess.CompletedProcess(self.argv, self._process.exitcode, self.stdout, self.stderr)


def _run(
    args: list[str], folder: str, streams: list[str], inherited: dict[str, str], environment: dict[str, str]
) -> None:
    os.setpgrp()
    for number in SIGNALS:  # which a shell has perhaps told pytest to ignore
        signal.signal(number, signal.SIG_DFL if number != signal.SIGINT else signal.default_int_handler)
    multiprocessing.set_start_method(None, force=True)  # the default for workers, as in a new process
    os.environ.clear()
    os.environ.update(inherited | environment)
    os.chdir(folder)
    sys.path[0] = str(Path(args[0]).parent)
    sys.argv = args
    for number, name in enumerate(streams, start=1):
        os.dup2(os.open(name, os.O_WRONLY | os.O_APPEND), number)
    sys.stdout, sys.stderr = (os.fdopen(number, "w", buffering=1, closefd=False) for number in (1, 2))
    with warnings.catch_warnings():
        pass  # forgets which warnings were shown before the fork
    runpy.run_path(args[0], run_name="__main__")


def run_script(folder: Path, script: str, *args: object, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a command to its end.

    With environment variables, which libraries read when they are imported, it starts in a new interpreter.
    """
    if not environment:
        return Command(folder, script, *args).finish()
    return subprocess.run(
        [sys.executable, str(script_path(script)), *map(str, args)],
        cwd=folder,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=MAX_LENGTH,
    )


def train_on(folder: Path, processes: int, *args: object) -> list[subprocess.CompletedProcess[str]]:
    """Train on several processes, started as torchrun starts them; return each finished process."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    args = (*args, "--trainer.devices", processes, "--trainer.strategy", "ddp", "--trainer.accelerator", "cpu")
    job = {"WORLD_SIZE": str(processes), "LOCAL_WORLD_SIZE": str(processes), "GROUP_RANK": "0"}
    job |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "TORCHELASTIC_RUN_ID": "test", "OMP_NUM_THREADS": "1"}
    ranks = [Command(folder, "train", *args, **job, RANK=str(n), LOCAL_RANK=str(n)) for n in range(processes)]
    return [rank.finish() for rank in ranks]
