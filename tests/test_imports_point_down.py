"""Who may import whom: a reader goes down, and never up."""

import ast
from pathlib import Path

import pytest

from tests.command import REPOSITORY

PROJECT = REPOSITORY / "project"
# What each part may import of the project, beside itself and the few modules at its foot.
FOOT = {"errors", "stop", "quiet"}
ALLOWED = {
    "nets": set(),
    "least_squares": set(),
    "data": {"nets", "least_squares", "columns"},
    "models": {"data", "nets", "least_squares", "gather"},
    "serving": {"columns", "whole_file"},
}
LOWER = {"data", "nets", "models", "callbacks", "least_squares"}


def imports(path: Path) -> set[str]:
    """First names below `project` that a file imports, also within functions."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "project":
            found.add(node.module.split(".")[1] if "." in node.module else "")
        elif isinstance(node, ast.Import):
            found |= {alias.name.split(".")[1] for alias in node.names if alias.name.startswith("project.")}
    return found


@pytest.mark.parametrize("part", ALLOWED)
def test_a_part_imports_what_lies_below_it(part):
    for path in (PROJECT / part).rglob("*.py"):
        above = imports(path) - ALLOWED[part] - FOOT - {part}
        assert not above, f"{path.relative_to(REPOSITORY)} imports {above}"


@pytest.mark.parametrize("part", sorted(LOWER))
def test_nothing_below_knows_stages_or_servers_or_command_lines(part):
    for path in (PROJECT / part).rglob("*.py"):
        assert not imports(path) & {"lifecycle", "serving", "cli", "training", "benchmark"}, path


def test_serving_names_neither_torch_nor_lightning():
    for path in (PROJECT / "serving").rglob("*.py"):
        names = {name.split(".")[0] for name in _modules(path)}
        assert not names & {"torch", "lightning"}, path


def _modules(path: Path) -> list[str]:
    tree = ast.walk(ast.parse(path.read_text()))
    found = []
    for node in tree:
        found += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        found += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
    return found
