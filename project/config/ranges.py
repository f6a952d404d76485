"""Registration of the types of `project.runtime.ranges` with jsonargparse, for use in signatures."""

from argparse import ArgumentTypeError
from typing import Any

from jsonargparse.typing import register_type

from project.runtime.ranges import RANGES

for _range in RANGES:
    kind: Any = _range
    register_type(kind, kind.number, kind, ArgumentTypeError, lambda value, kind: kind.includes(value))
