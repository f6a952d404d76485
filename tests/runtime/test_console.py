"""The console shows names as they are."""

import pytest
from rich.table import Table

from project.runtime.console import open_console


@pytest.mark.parametrize("name", ["exp[final]", "a[/b]", "[red]", ":smile:", "x²[0]"])
def test_a_name_is_shown_as_it_is(capsys, name):
    console, table = open_console(), Table(name, title=name)
    table.add_row(name)
    console.print(table)
    console.print(f"Run: {name}", highlight=False)
    shown = capsys.readouterr().out
    assert shown.count(name) == 4
