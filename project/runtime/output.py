"""Standard output and error that survive a broken pipe, a full disk and a closed stream."""

import contextlib
import errno
import io
import os
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer


class _FaultTolerantFile(io.FileIO):
    """A file that discards what it cannot write, and remembers the first error."""

    error: OSError | None = None

    def write(self, data: "ReadableBuffer") -> int:
        """Write bytes, or discard them after an error."""
        if self.error is None:
            try:
                return super().write(data)
            except OSError as error:
                self.error = error
        return memoryview(data).nbytes


def tolerate_output_errors() -> None:
    """Replace the standard streams by fault-tolerant ones.

    Characters that the encoding lacks become `?` on standard output and escapes on standard error.
    """
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass  # the caller has closed this stream: otherwise the next file opened would get its number and its output
    os.close(descriptor)
    for number, name in ((1, "stdout"), (2, "stderr")):
        stream = getattr(sys, name)
        if stream is not None and type(stream) is not io.TextIOWrapper:  # in a notebook or a test
            continue
        with contextlib.suppress(OSError):
            if stream is not None:
                stream.flush()
        raw = _FaultTolerantFile(number, "w", closefd=False)
        errors = "replace" if number == 1 else "backslashreplace"
        # With `python -u` or PYTHONUNBUFFERED, `line_buffering` is False and `write_through` is True.
        lines = stream is None or stream.line_buffering or stream.write_through
        encoding = "utf-8" if stream is None else stream.encoding
        wrapper = io.TextIOWrapper(io.BufferedWriter(raw), encoding=encoding, errors=errors, line_buffering=lines)
        setattr(sys, name, wrapper)


def output_error() -> OSError | None:
    """Return the error that made standard output lose text; None if there was none, or the reader closed the pipe."""
    buffer = getattr(sys.stdout, "buffer", None)
    raw = getattr(buffer, "raw", None)
    if not isinstance(raw, _FaultTolerantFile):
        return None
    sys.stdout.flush()
    return None if raw.error is None or raw.error.errno == errno.EPIPE else raw.error
