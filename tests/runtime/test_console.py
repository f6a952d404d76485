"""The console shows names as they are."""

import io

import pytest
from rich.console import Console

from project.runtime.console import Table, open_console


@pytest.mark.parametrize("name", ["exp[final]", "a[/b]", "[red]", ":smile:", "x²[0]"])
def test_a_name_is_shown_as_it_is(capsys, name):
    console, table = open_console(), Table(name, title=name)
    table.add_row(name)
    console.print(table)
    console.print(f"Run: {name}", highlight=False)
    shown = capsys.readouterr().out
    assert shown.count(name) == 4


@pytest.mark.parametrize("width", [8, 20, 40, 120])
def test_a_table_keeps_every_number_in_a_terminal_of_any_width(width):
    table = Table("", "exact least squares", "learned", title="Learned")
    table.add_row("bias", "2.1597", "2.2388")
    table.add_row("x", "-1234.567", "")
    console = Console(file=io.StringIO(), width=width)
    console.print(table)
    shown = console.file.getvalue()
    assert "…" not in shown
    assert all(number in shown.replace("\n", "") for number in ("2.1597", "2.2388", "-1234.567"))
    assert ("learned:" in shown) == (width < 40)
