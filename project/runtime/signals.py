"""Signal handling: signals end the process, or stop training between two steps."""

import multiprocessing
import os
import shlex
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

PARENT_SECONDS = 1
AGAIN_SECONDS = 0.1
# Users, terminals, service managers and batch systems send these. Batch systems use the last three as a warning.
NAMES = ("SIGTERM", "SIGINT", "SIGHUP", "SIGUSR1", "SIGUSR2", "SIGXCPU")
SIGNALS = [getattr(signal, name) for name in NAMES if hasattr(signal, name)]


@contextmanager
def exit_on_signals() -> Iterator[None]:
    """Within this block, signals end the process after its clean-up, without a traceback.

    Signals that are ignored, as by nohup, stay ignored. Python ignores exceptions in finalizers, so a signal that
    arrives in one is raised again after it, at the latest when the block ends. After the block, a signal ends the
    process at once.
    """
    received: list[int] = []
    hook = sys.unraisablehook
    timers: list[threading.Timer] = []

    def exit_process(signum: int, frame: FrameType | None) -> None:
        silence_other_threads()
        if signum not in received:
            print(f"stopped by {signal.Signals(signum).name}", file=sys.stderr)
        received.append(signum)
        sys.exit(128 + signum)

    def raise_again(ignored: "sys.UnraisableHookArgs") -> None:
        if isinstance(ignored.exc_value, SystemExit) and received:
            main = threading.main_thread().ident
            timers.append(threading.Timer(AGAIN_SECONDS, signal.pthread_kill, [main, received[0]]))
            timers[-1].start()
        else:
            hook(ignored)

    sys.unraisablehook = raise_again
    for number in _handled_signals():
        signal.signal(number, exit_process)
    try:
        yield
        if received:
            sys.exit(128 + received[0])
    finally:
        for timer in timers:
            timer.cancel()
        sys.unraisablehook = hook
        for number in _handled_signals():
            signal.signal(number, signal.SIG_DFL)


def _handled_signals() -> list[int]:
    return [number for number in SIGNALS if signal.getsignal(number) != signal.SIG_IGN]


def leave_signals_to_parent() -> None:
    """Make a worker process ignore signals, except a SIGTERM from its parent, and end when its parent ends.

    A terminal, a scheduler or a service manager sends a signal to all processes of a job at once. If it ended the
    workers, the training would have no batches to finish its step.
    """
    parent = multiprocessing.parent_process()
    waits = hasattr(signal, "sigtimedwait") and parent is not None  # not on macOS
    for number in SIGNALS:
        if number != signal.SIGTERM:
            signal.signal(number, signal.SIG_IGN)
        elif waits:
            signal.pthread_sigmask(signal.SIG_BLOCK, [number])
            signal.signal(number, signal.SIG_DFL)

    def watch() -> None:
        while parent is not None and parent.is_alive():
            received = signal.sigtimedwait([signal.SIGTERM], PARENT_SECONDS)
            if received is not None and received.si_pid == parent.pid:
                break
        os._exit(0)

    if waits:
        threading.Thread(target=watch, daemon=True).start()


def silence_other_threads() -> None:
    """Silence tracebacks from threads other than the main one: loader threads fail when their workers end."""
    excepthook = sys.excepthook
    main = threading.main_thread()
    sys.excepthook = lambda *error: excepthook(*error) if threading.current_thread() is main else None


class Stopped(BaseException):
    """Training has stopped between two steps and saved a checkpoint.

    Attributes:
        signum: The signal; 0 for a limit on time or steps.
    """

    def __init__(self, signum: int) -> None:
        self.signum = signum
        super().__init__(signal.Signals(signum).name if signum else "a limit on time or steps")


class SignalListener:
    """Remembers the first signal so that training can stop. A SIGINT after it ends the process at once.

    Attributes:
        received: The first signal; 0 if there was none.
    """

    def __init__(self) -> None:
        self.received = 0
        self._previous: dict[int, object] = {}

    @property
    def is_active(self) -> bool:
        """Whether the signal handlers are replaced."""
        return bool(self._previous)

    def start(self) -> None:
        """Replace the current signal handlers."""
        if threading.current_thread() is threading.main_thread():  # Python sets handlers only in this thread
            self._previous = {number: signal.signal(number, self._remember) for number in _handled_signals()}

    def stop(self) -> None:
        """Restore the previous signal handlers."""
        for number, handler in self._previous.items():
            signal.signal(number, handler)  # type: ignore[arg-type]
        self._previous = {}

    def _remember(self, signum: int, frame: FrameType | None) -> None:
        silence_other_threads()
        if signum == signal.SIGINT and self.received:
            signal.signal(signum, signal.SIG_DFL)
            os.kill(os.getpid(), signum)
        self.received = self.received or signum


def stop_message(stop: Stopped, steps: int, run: Path | None) -> str:
    """Return the message that tells the user how to resume a stopped training."""
    if run is None or not run.exists():
        return f"stopped by {stop} after step {steps}; nothing was saved"
    return f"stopped by {stop} after step {steps}; resume with --ckpt_path {shlex.quote(os.path.relpath(run))}"


def exit_with_parent() -> None:
    """End this process, whatever it is doing, as soon as the process from which Lightning started it has ended."""
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(PARENT_SECONDS)
        os._exit(1)

    if "LOCAL_RANK" in os.environ and "TORCHELASTIC_RUN_ID" not in os.environ:
        threading.Thread(target=watch, daemon=True).start()
