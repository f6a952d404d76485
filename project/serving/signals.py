"""Signal handlers of a server process before it serves."""

import signal
import sys


def exit_on_signals() -> None:
    """Exit with status 0 at SIGTERM and SIGINT, and ignore SIGHUP, until the server installs its own handlers."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: sys.exit(0))
    if hasattr(signal, "SIGHUP"):
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
