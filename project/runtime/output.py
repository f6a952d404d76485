"""Standard output and error: a pipe that breaks, a full disk or a closed stream does not end the work."""

import contextlib
import errno
import io
import os
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer


class _Lasting(io.FileIO):
    """A file that drops what it cannot write, and keeps the first error."""

    error: OSError | None = None

    def write(self, data: "ReadableBuffer") -> int:
        """Write bytes, or drop them."""
        if self.error is None:
            try:
                return super().write(data)
            except OSError as error:
                self.error = error
        return memoryview(data).nbytes


def keep_output() -> None:
    """Replace the standard streams by ones that last, and show characters that their encoding lacks as `?`."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass  # one that the caller has closed: the next file to be opened would get its number, and all that is printed
    os.close(descriptor)
    for number, name in ((1, "stdout"), (2, "stderr")):
        stream = getattr(sys, name)
        if stream is not None and type(stream) is not io.TextIOWrapper:  # a notebook's, a test's
            continue
        with contextlib.suppress(OSError):
            if stream is not None:
                stream.flush()
        raw = _Lasting(number, "w", closefd=False)
        errors = "replace" if number == 1 else "backslashreplace"
        # Unbuffered streams, of `python -u` and PYTHONUNBUFFERED, have no buffering by lines either.
        lines = stream is None or stream.line_buffering or stream.write_through
        encoding = "utf-8" if stream is None else stream.encoding
        lasting = io.TextIOWrapper(io.BufferedWriter(raw), encoding=encoding, errors=errors, line_buffering=lines)
        setattr(sys, name, lasting)


def output_error() -> OSError | None:
    """Return why something that was printed got lost; None if all is well, or nobody reads any more."""
    buffer = getattr(sys.stdout, "buffer", None)
    raw = getattr(buffer, "raw", None)
    if not isinstance(raw, _Lasting):
        return None
    sys.stdout.flush()
    return None if raw.error is None or raw.error.errno == errno.EPIPE else raw.error
