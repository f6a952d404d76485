"""The console for tables and progress: a terminal, a file, or a notebook cell."""

import sys
from importlib.util import find_spec

from rich.console import Console


def open_console() -> Console:
    """Return a console on standard output: as wide as the terminal, or 120 columns of plain text elsewhere."""
    return Console(
        file=sys.stdout,
        width=None if sys.stdout.isatty() else 120,
        force_terminal=False if in_cell() else None,  # kernels ask for colours, but a cell cannot move a cursor
        force_jupyter=False,
        markup=False,  # names of columns and folders may hold brackets
        emoji=False,
    )


def in_cell() -> bool:
    """Whether standard output is a notebook cell."""
    return type(sys.stdout).__module__ == "ipykernel.iostream"


def shows_widgets() -> bool:
    """Whether standard output is a notebook cell that can show widgets."""
    return in_cell() and find_spec("ipywidgets") is not None
