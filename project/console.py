"""Where tables and progress are shown: a terminal, a file, or a cell of a notebook."""

import sys
from importlib.util import find_spec

from rich.console import Console

WIDTH = 120


def open_console() -> Console:
    """Standard output: a terminal, as wide as it is, or plain text of 120 columns, in a notebook's cell, too."""
    on_terminal = sys.stdout.isatty()
    return Console(
        file=sys.stdout, width=None if on_terminal else WIDTH, force_terminal=on_terminal, force_jupyter=False
    )


def shows_widgets() -> bool:
    """Whether what is printed goes to a notebook's cell, where widgets can be shown."""
    return type(sys.stdout).__module__ == "ipykernel.iostream" and find_spec("ipywidgets") is not None
