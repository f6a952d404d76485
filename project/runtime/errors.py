"""User-facing errors: one line on stderr, exit status 2."""

import errno
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

from project.runtime.address import without_credentials
from project.runtime.environment import remove_stray_ranks
from project.runtime.output import output_error, tolerate_output_errors
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


# Problems of the machine, not of the program. Some operating systems lack some of them.
MACHINE_ERRORS = [
    getattr(errno, name, None)
    for name in (
        *("ENOSPC", "EDQUOT", "EFBIG", "EROFS", "EIO", "ESTALE", "ENAMETOOLONG", "ELOOP"),  # files
        *("EMFILE", "ENFILE", "EADDRINUSE", "EADDRNOTAVAIL"),  # too many of them, and ports
    )
]


class UserError(ValueError):
    """A mistake that the user can fix; the message names the flag, file, column or row, and the fix.

    Credentials in addresses are removed from the message.
    """

    def __init__(self, message: str) -> None:
        super().__init__(without_credentials(message))


@contextmanager
def exit_on_user_error() -> Iterator[None]:
    """Exit with status 2 and one line on stderr after a user's mistake or when memory runs out.

    The status is 1 after a problem of the machine, such as a full disk. Signal n ends the process with status 128 + n,
    unless training handles it. Any other exception is a defect of the program and keeps its traceback. A closed or
    broken standard output does not stop the work.
    """
    tolerate_output_errors()
    remove_stray_ranks()
    hook = threading.excepthook  # TensorBoard's writer thread raises its error again in the main thread
    threading.excepthook = lambda args: None if is_machine_error(args.exc_value) else hook(args)
    try:
        with exit_on_signals(), _exit_on_pending_signal():
            yield
    except (UserError, FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError) as mistake:
        line = str(mistake)
        if isinstance(mistake, OSError) and mistake.filename:
            line = f"{mistake.filename}: {mistake.strerror}"
        exit_with_error(line, 1 if is_machine_error(mistake) else 2)
    except OSError as error:
        if not is_machine_error(error):
            raise
        exit_with_error(f"{error.filename}: {error.strerror}" if error.filename else error.strerror or str(error), 1)
    except ModuleNotFoundError as missing:
        if missing.name not in REQUIRED:
            raise
        exit_with_error(f"{missing.name} is not installed; in the project's folder, run pip install -e .")
    except (MemoryError, RuntimeError) as error:
        if not isinstance(error, MemoryError) and "memory" not in str(error):  # torch raises a RuntimeError
            raise
        exit_with_error(f"not enough memory: {error}")
    if (lost := output_error()) is not None:
        exit_with_error(f"standard output: {lost.strerror}", 1)


def is_machine_error(error: BaseException | None) -> bool:
    """Whether an exception or one of its causes is a problem of the machine."""
    seen: list[BaseException] = []  # `raise error from error` makes an endless chain
    while error is not None and error not in seen:
        seen.append(error)
        error = error.__cause__
    return any(isinstance(each, OSError) and each.errno in MACHINE_ERRORS for each in seen)


@contextmanager
def _exit_on_pending_signal() -> Iterator[None]:
    """End the process after a signal even if the clean-up raised another exception."""
    try:
        yield
    except Exception as error:
        cause: BaseException | None = error
        while cause is not None and not isinstance(cause, SystemExit):
            cause = cause.__context__
        if cause is not None:
            raise cause from None
        raise


def exit_with_error(line: str, status: int = 2) -> NoReturn:
    """End the process with one line on stderr."""
    # The line may quote a file. Its control characters must not reach the terminal.
    line = without_credentials(" ".join(line.split()))
    line = "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in line)
    print(f"error: {line if len(line) <= MAX_LENGTH else line[:MAX_LENGTH] + ' …'}", file=sys.stderr)
    sys.exit(status)
