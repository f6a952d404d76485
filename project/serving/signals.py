"""Signal handlers of a server process before it serves."""

import signal
import sys
from typing import NoReturn


def exit_on_signals() -> None:
    """Exit with status 0 at SIGTERM and SIGINT, and ignore SIGHUP, until the server installs its own handlers."""
    signal.signal(signal.SIGTERM, _exit)
    signal.signal(signal.SIGINT, _exit)
    if hasattr(signal, "SIGHUP"):
        signal.signal(signal.SIGHUP, signal.SIG_IGN)


def _exit(*_: object) -> NoReturn:
    sys.exit(0)
