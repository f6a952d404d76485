"""Calls that wait in native code, in a thread, so that the main thread can handle signals."""

import threading
from collections.abc import Callable
from concurrent.futures import Future, wait
from typing import TypeVar

Value = TypeVar("Value")


def in_thread(call: Callable[[], Value], seconds: float | None = None) -> Value:
    """Call a function in a thread and return its result. Meanwhile the main thread handles signals.

    Raises:
        TimeoutError: If the call takes longer than `seconds`. It then goes on until the process ends.
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
