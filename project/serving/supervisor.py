"""Several processes that answer, and the one that sees to them."""

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

PAUSE_SECONDS = 1.0
STOP_SECONDS = 4.5

Work = Callable[[int, Callable[[], None]], NoReturn]


def supervise(workers: int, work: Work, announce: Callable[[], None]) -> NoReturn:
    """Keep so many workers at work until a signal ends this process, and them with it.

    One that ends is replaced; but where none could start, all is over. SIGHUP is passed on.

    Args:
        workers: How many.
        work: What each does, forked from here, given its number and what to call when it has started.
        announce: Called when the first has started.
    """
    forks = multiprocessing.get_context("fork")  # nothing heavy is imported, and no thread runs, in this process
    started, unannounced = forks.Event(), forks.Semaphore(1)

    def start(number: int) -> ForkProcess:
        process = forks.Process(target=_work, args=(work, number, has_started))
        process.start()
        return process

    def has_started() -> None:
        started.set()
        if unannounced.acquire(block=False):  # workers start side by side, and one of them is the first
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
                print(f"worker {number} ended with status {process.exitcode}: another one starts", file=sys.stderr)
                time.sleep(PAUSE_SECONDS)
                processes[number] = start(number)
    finally:
        _stop(processes)


def _work(work: Work, number: int, started: Callable[[], None]) -> None:
    with exit_on_user_error():
        exit_on_signals()
        work(number, started)


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
