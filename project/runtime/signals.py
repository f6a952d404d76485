"""Asking a training to stop: signals, which it obeys between two steps."""

import os
import signal
import sys
import threading
import time
from pathlib import Path
from types import FrameType

PARENT_SECONDS = 1
SIGNALS = [getattr(signal, name) for name in ("SIGTERM", "SIGINT", "SIGHUP", "SIGUSR1") if hasattr(signal, name)]


def exit_on_signals() -> None:
    """Have signals end the process, with what it has to clean up done, and no traceback."""

    def leave(signum: int, frame: FrameType | None) -> None:
        silence_other_threads()
        print(f"stopped by {signal.Signals(signum).name}", file=sys.stderr)
        raise SystemExit(128 + signum)

    for number in SIGNALS:
        signal.signal(number, leave)


def silence_other_threads() -> None:
    """Have the main thread alone tell what goes wrong: another one may lose a worker while it hands over a batch."""
    tell = sys.excepthook
    sys.excepthook = lambda *error: tell(*error) if threading.current_thread() is threading.main_thread() else None


class Stopped(BaseException):
    """Training has stopped between two steps, as asked, and has saved where it was.

    Args:
        signum: The signal that asked; 0 for a limit on time or steps.
    """

    def __init__(self, signum: int) -> None:
        self.signum = signum
        super().__init__(signal.Signals(signum).name if signum else "a limit on time or steps")


class SignalListener:
    """Notes the first signal to stop; a second SIGINT ends the process at once.

    Attributes:
        received: The first signal; 0 before there is one.
    """

    def __init__(self) -> None:
        self.received = 0
        self._before: dict[int, object] = {}

    def start(self) -> None:
        """Listen, in the place of whoever did."""
        if threading.current_thread() is threading.main_thread():  # Python lets no other one listen
            self._before = {number: signal.signal(number, self._note) for number in SIGNALS}

    def stop(self) -> None:
        """Leave signals to whom they were left before."""
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]
        self._before = {}

    def _note(self, signum: int, frame: FrameType | None) -> None:
        silence_other_threads()
        if signum == signal.SIGINT and self.received == signal.SIGINT:
            signal.signal(signum, signal.SIG_DFL)
            os.kill(os.getpid(), signum)
        self.received = self.received or signum


def stop_message(stop: Stopped, steps: int, run: Path | None) -> str:
    """What the user of a stopped training is told."""
    if run is None or not run.exists():
        return f"stopped by {stop} after step {steps}, with nothing saved"
    return f"stopped by {stop} after step {steps}: go on with --ckpt_path {os.path.relpath(run)}"


def exit_with_parent() -> None:
    """Have this process end when the one ends that Lightning started it from, wherever it is waiting then."""
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(PARENT_SECONDS)
        os._exit(1)

    if "LOCAL_RANK" in os.environ and "TORCHELASTIC_RUN_ID" not in os.environ:
        threading.Thread(target=watch, daemon=True).start()
