"""Imports point down: each package imports only from those below it."""

import ast
from pathlib import Path

import pytest

from tests.command import REPOSITORY

PROJECT = REPOSITORY / "project"
# The packages from the bottom up. A file imports from its own package and from those before it.
ORDER = (
    *("runtime", "schema", "text", "nets", "least_squares", "config", "data", "models"),
    *("public_weights", "runs", "callbacks"),
    *("training", "serving", "inference", "stages", "exporting", "sweep", "pipeline", "overview"),
)
# Packages that stay usable on their own, and the packages that they may import.
ALONE = {
    "nets": set(),
    "least_squares": {"runtime"},
    "schema": {"runtime"},
    "text": {"runtime"},
    "serving": {"runtime", "schema", "text"},
}


def imported_modules(path: Path) -> set[str]:
    """Return the full names of the modules that a file imports, including imports within functions."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {name for name in names if as_path(name)} or {node.module}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return found


def as_path(module: str) -> Path | None:
    """Return the file of a module of this repository, or None for other modules."""
    stem = REPOSITORY.joinpath(*module.split("."))
    return next((path for path in (stem.with_suffix(".py"), stem / "__init__.py") if path.exists()), None)


def packages_of(path: Path) -> set[str]:
    return {name.split(".")[1] for name in imported_modules(path) if name.startswith("project.")}


def test_the_order_lists_all_packages():
    folders = {path.parent.name for path in PROJECT.glob("*/__init__.py")}
    assert folders == set(ORDER)
    assert {path.name for path in PROJECT.glob("*.py")} == {"__init__.py"}, "all modules of project/ are in packages"


@pytest.mark.parametrize("package", ORDER)
def test_a_package_imports_only_from_those_below_it(package):
    below = set(ORDER[: ORDER.index(package) + 1])
    allowed = ALONE[package] | {package} if package in ALONE else below
    for path in (PROJECT / package).rglob("*.py"):
        assert packages_of(path) <= allowed, f"{path.relative_to(REPOSITORY)} imports {packages_of(path) - allowed}"


def test_there_are_no_circular_imports():
    graph = {
        path: {found for name in imported_modules(path) if (found := as_path(name)) not in (None, path)}
        for path in PROJECT.rglob("*.py")
        if path.name != "__init__.py"
    }
    while free := {path for path, below in graph.items() if not below & graph.keys()}:
        graph = {path: below for path, below in graph.items() if path not in free}
    assert not graph, sorted(str(path.relative_to(REPOSITORY)) for path in graph)


def test_serving_imports_neither_torch_nor_lightning():
    for path in (PROJECT / "serving").rglob("*.py"):
        names = {name.split(".")[0] for name in imported_modules(path)}
        assert not names & {"torch", "lightning"}, path
