"""The rich console for tables and progress bars, in a terminal, a file or a notebook cell."""

import sys
from importlib.util import find_spec

import rich.table
from rich.console import Console, ConsoleOptions, RenderResult
from rich.measure import Measurement


class Table(rich.table.Table):
    """A rich table that becomes lines `column: cell` if the terminal is too narrow for the table."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Render the table, or one line for each cell if it does not fit."""
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
    """Return a console for standard output. Outside a terminal it writes plain text, 120 columns wide."""
    return Console(
        file=sys.stdout,
        width=None if sys.stdout.isatty() else 120,
        force_terminal=False if in_cell() else None,  # notebook kernels enable colours, but a cell has no cursor
        force_jupyter=False,
        markup=False,  # names of columns and folders may contain brackets
        emoji=False,
    )


def in_cell() -> bool:
    """Whether standard output is a notebook cell."""
    return type(sys.stdout).__module__ == "ipykernel.iostream"


def shows_widgets() -> bool:
    """Whether standard output is a notebook cell that can show widgets."""
    return in_cell() and find_spec("ipywidgets") is not None
