"""Imports point down: from commands to stages, to training, to runs, to models, to nets. A reader never goes up."""

import ast
from pathlib import Path

import pytest

from tests.command import REPOSITORY

PROJECT = REPOSITORY / "project"
# The rooms of the house from the bottom up. A file imports from its own room and from those before it.
FLOORS = (
    *("runtime", "nets", "least_squares", "config", "data", "models", "runs", "callbacks", "training"),
    *("serving", "inference", "stages", "export", "sweep", "pipeline"),
)
# Rooms that stay usable by themselves: what they may import of the project, although more lies below them.
ALONE = {"nets": set(), "least_squares": {"runtime"}, "serving": {"runtime"}}


def imported_modules(path: Path) -> set[str]:
    """Full names of the modules that a file imports, also within functions."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {name for name in names if as_path(name)} or {node.module}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return found


def as_path(module: str) -> Path | None:
    """The file of a module of the project; None of any other."""
    stem = REPOSITORY.joinpath(*module.split("."))
    return next((path for path in (stem.with_suffix(".py"), stem / "__init__.py") if path.exists()), None)


def rooms_of(path: Path) -> set[str]:
    return {name.split(".")[1] for name in imported_modules(path) if name.startswith("project.")}


def test_the_floors_are_the_folders():
    folders = {path.parent.name for path in PROJECT.glob("*/__init__.py")}
    assert folders == set(FLOORS)
    assert {path.name for path in PROJECT.glob("*.py")} == {"__init__.py"}, "no module lies loose in project/"


@pytest.mark.parametrize("room", FLOORS)
def test_a_room_imports_from_the_floors_below_it(room):
    below = set(FLOORS[: FLOORS.index(room) + 1])
    allowed = ALONE[room] | {room} if room in ALONE else below
    for path in (PROJECT / room).rglob("*.py"):
        assert rooms_of(path) <= allowed, f"{path.relative_to(REPOSITORY)} imports {rooms_of(path) - allowed}"


def test_no_files_import_one_another_in_a_circle():
    graph = {
        path: {found for name in imported_modules(path) if (found := as_path(name)) not in (None, path)}
        for path in PROJECT.rglob("*.py")
        if path.name != "__init__.py"
    }
    while free := {path for path, below in graph.items() if not below & graph.keys()}:
        graph = {path: below for path, below in graph.items() if path not in free}
    assert not graph, sorted(str(path.relative_to(REPOSITORY)) for path in graph)


def test_serving_names_neither_torch_nor_lightning():
    for path in (PROJECT / "serving").rglob("*.py"):
        names = {name.split(".")[0] for name in imported_modules(path)}
        assert not names & {"torch", "lightning"}, path
