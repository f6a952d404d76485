"""Which private names of libraries are used: none is written, and each that is read has a reason."""

import ast
from pathlib import Path

REPOSITORY = Path(__file__).parents[1]
READ = {
    "_BatchNorm": "torch.nn has no public base class of all batch norms",
    "_ConvNd": "torch.nn has no public base class of all convolutions",
    "_Loss": "torch.nn has no public base class of all losses",
    "_asdict": "part of the interface of typing.NamedTuple",
    "_fields": "part of the interface of typing.NamedTuple",
    "_replace": "part of the interface of typing.NamedTuple",
    "_exit": "os._exit: ends a process whose threads may never end",
}


def accesses(tree: ast.AST) -> list[tuple[str, bool]]:
    """Return (name, whether it is written) for each private attribute of an object other than self, cls or super()."""
    own = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    own |= {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in ("self", "cls")
    }
    return [
        (node.attr, not isinstance(node.ctx, ast.Load))
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and node.attr.startswith("_")
        and not node.attr.endswith("__")
        and not (isinstance(node.value, ast.Name) and node.value.id in ("self", "cls"))
        and node.attr not in own
    ]


def imported(tree: ast.AST) -> list[str]:
    """Return the private names that are imported from other packages."""
    return [
        name.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and not (node.module or "").startswith("project")
        for name in node.names
        if name.name.startswith("_")
    ]


def test_no_private_name_of_a_library_is_written_and_those_read_are_known():
    written, read = set(), set()
    for path in [*(REPOSITORY / "project").rglob("*.py"), *(REPOSITORY / "scripts").rglob("*.py")]:
        tree = ast.parse(path.read_text())
        for name, is_write in accesses(tree):
            (written if is_write else read).add(name)
        read.update(imported(tree))
    assert written == set()
    assert read == set(READ)
