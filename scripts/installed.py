"""Imported first by every script: if the project is not installed, one line instead of a traceback."""

import sys
from importlib.util import find_spec

for name in ("project", "yaml"):  # what scripts import before they parse their arguments
    if find_spec(name) is None:
        print(f"error: {name} is not installed; in the project's folder, run pip install -e .", file=sys.stderr)
        sys.exit(2)
