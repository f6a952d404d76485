"""Where tables and progress are shown: a terminal, a file, or a cell of a notebook."""

import sys
from importlib.util import find_spec

from rich.console import Console

WIDTH = 120


def open_console() -> Console:
    """Standard output: a terminal, as wide as it is, or plain text of 120 columns, in a notebook's cell, too."""
    return Console(
        file=sys.stdout,
        width=None if sys.stdout.isatty() else WIDTH,
        force_terminal=False if in_cell() else None,  # kernels ask for colours, and cells cannot move a cursor
        force_jupyter=False,
    )


def in_cell() -> bool:
    """Whether what is printed goes to a notebook's cell."""
    return type(sys.stdout).__module__ == "ipykernel.iostream"


def shows_widgets() -> bool:
    """Whether it does, and widgets can be shown there."""
    return in_cell() and find_spec("ipywidgets") is not None
