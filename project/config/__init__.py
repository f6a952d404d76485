"""The configuration as YAML and flags: parsing, trust, and errors about flags."""

from argparse import ArgumentTypeError
from typing import Any

from jsonargparse.typing import register_type

from project.runtime.ranges import RANGES

for _range in RANGES:  # so that signatures can have these types
    _kind: Any = _range
    register_type(_kind, _kind.number, _kind, ArgumentTypeError, lambda value, kind: kind.includes(value))
