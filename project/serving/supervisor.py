"""Run several worker processes, and replace those that end."""

import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable
from multiprocessing import connection
from multiprocessing.context import ForkProcess
from typing import NoReturn

from project.runtime.errors import exit_on_user_error
from project.serving.signals import exit_on_signals

RESTART_SECONDS = 1.0
STOP_SECONDS = 4.5

Work = Callable[[int, Callable[[], None]], NoReturn]


def supervise(workers: int, work: Work, announce: Callable[[], None]) -> NoReturn:
    """Keep workers running until a signal ends this process, and then end them.

    A worker that ends is replaced; but if no worker has started yet, this process ends with its status. SIGHUP is sent
    on to them. Each worker is a fork of this process that calls `work` with its number and a function to call once it
    has started.
    """
    forks = multiprocessing.get_context("fork")  # safe: this process imports nothing heavy and runs no threads
    started, unannounced = forks.Event(), forks.Semaphore(1)

    def start(number: int) -> ForkProcess:
        process = forks.Process(target=_work, args=(work, number, on_start))
        process.start()
        return process

    def on_start() -> None:
        started.set()
        if unannounced.acquire(block=False):  # only the first worker announces
            announce()

    processes = [start(number) for number in range(workers)]
    signal.signal(signal.SIGHUP, lambda *_: _send(processes, signal.SIGHUP))
    try:
        while True:
            connection.wait([process.sentinel for process in processes])
            for number, process in enumerate(processes):
                if process.exitcode is None:
                    continue
                if not started.is_set():
                    sys.exit(max(process.exitcode, 1))
                print(f"worker {number} exited with status {process.exitcode}; starting another one", file=sys.stderr)
                time.sleep(RESTART_SECONDS)
                processes[number] = start(number)
    finally:
        _stop(processes)


def _work(work: Work, number: int, on_start: Callable[[], None]) -> None:
    with exit_on_user_error():
        exit_on_signals()
        work(number, on_start)


def _send(processes: list[ForkProcess], number: int) -> None:
    for process in processes:
        if process.is_alive() and process.pid:
            os.kill(process.pid, number)


def _stop(processes: list[ForkProcess]) -> None:
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    _send(processes, signal.SIGTERM)
    end = time.monotonic() + STOP_SECONDS
    for process in processes:
        process.join(max(end - time.monotonic(), 0))
    for process in processes:
        process.kill()
        process.join()
