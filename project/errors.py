"""What a user did wrong, told in one line."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager


class UserError(ValueError):
    """A mistake that the user can mend; the message names the flag, file, column or row, and the mend."""


@contextmanager
def told_in_one_line() -> Iterator[None]:
    """End the process with exit status 2 and one line on standard error when the user made a mistake.

    Any other exception is a defect of the program and keeps its traceback.
    """
    try:
        yield
    except (UserError, FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError) as mistake:
        line = str(mistake)
        if isinstance(mistake, OSError) and mistake.filename:
            line = f"{mistake.filename}: {mistake.strerror}"
        print(f"error: {' '.join(line.split())}", file=sys.stderr)
        raise SystemExit(2) from None
