"""User-facing errors: one line on stderr, exit status 2."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

from project.runtime.address import without_credentials
from project.runtime.signals import exit_on_signals

MAX_LENGTH = 1_000
REQUIRED = (
    "torch",
    "lightning",
    "torchmetrics",
    "jsonargparse",
    "yaml",
    "rich",
    "numpy",
    "pyarrow",
    "filelock",
    "matplotlib",
)


class UserError(ValueError):
    """A mistake that the user can fix; the message names the flag, file, column or row, and the fix.

    Credentials in the addresses of the message are left out.
    """

    def __init__(self, message: str) -> None:
        super().__init__(without_credentials(message))


@contextmanager
def exit_on_user_error() -> Iterator[None]:
    """Exit with status 2 and one line on stderr after a user's mistake or when memory runs out.

    Signal n ends the process with status 128 + n, unless training handles it. Any other exception is a defect of the
    program and keeps its traceback.
    """
    exit_on_signals()
    try:
        with _exit_on_pending_signal():
            yield
    except (UserError, FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError) as mistake:
        line = str(mistake)
        if isinstance(mistake, OSError) and mistake.filename:
            line = f"{mistake.filename}: {mistake.strerror}"
        exit_with_error(line)
    except ModuleNotFoundError as missing:
        if missing.name not in REQUIRED:
            raise
        exit_with_error(f"{missing.name} is not installed; in the project's folder, run pip install -e .")
    except (MemoryError, RuntimeError) as error:
        if not isinstance(error, MemoryError) and "memory" not in str(error):  # torch raises a RuntimeError
            raise
        exit_with_error(f"not enough memory: {error}")


@contextmanager
def _exit_on_pending_signal() -> Iterator[None]:
    """Let a signal end the process even if the clean-up after it raises an exception."""
    try:
        yield
    except Exception as error:
        cause: BaseException | None = error
        while cause is not None and not isinstance(cause, SystemExit):
            cause = cause.__context__
        if cause is not None:
            raise cause from None
        raise


def exit_with_error(line: str) -> NoReturn:
    """End the process with exit status 2 and one line on stderr."""
    # The line may quote a file, whose control characters would reach the terminal.
    line = without_credentials(" ".join(line.split()))
    line = "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in line)
    print(f"error: {line if len(line) <= MAX_LENGTH else line[:MAX_LENGTH] + ' …'}", file=sys.stderr)
    sys.exit(2)
