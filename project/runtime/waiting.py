"""Calls that wait in native code, during which Python hears no signal."""

import threading
from collections.abc import Callable
from concurrent.futures import Future, wait
from typing import TypeVar

Value = TypeVar("Value")


def in_thread(call: Callable[[], Value], seconds: float | None = None) -> Value:
    """Return what a call returns, while the main thread hears signals.

    Raises:
        TimeoutError: If it takes longer than a number of seconds; the call then goes on until the process ends.
    """
    outcome: Future[Value] = Future()

    def run() -> None:
        try:
            outcome.set_result(call())
        except BaseException as error:
            outcome.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    if wait([outcome], seconds).not_done:
        raise TimeoutError(f"no answer within {seconds:.0f} seconds")
    return outcome.result()
