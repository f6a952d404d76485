"""The console for tables and progress: a terminal, a file, or a notebook cell."""

import sys
from importlib.util import find_spec

import rich.table
from rich.console import Console, ConsoleOptions, RenderResult
from rich.measure import Measurement


class Table(rich.table.Table):
    """A table of rich, written as lines `column: cell` where the terminal is too narrow for its numbers."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Render the table, or its rows one by one."""
        if Measurement.get(console, options.update(width=1_000), self).minimum <= options.max_width:
            yield from super().__rich_console__(console, options)
            return
        if self.title:
            yield self.title
        for row in zip(*(column.cells for column in self.columns), strict=True):
            for column, cell in zip(self.columns, row, strict=True):
                if cell:
                    yield f"{column.header}: {cell}" if column.header else cell
            yield ""


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
