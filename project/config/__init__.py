"""Configuration from YAML and flags: parsing, trust, and error messages about flags."""

from argparse import ArgumentTypeError
from datetime import timedelta
from typing import Any

from jsonargparse.typing import register_type

from project.config.duration import parse_duration
from project.runtime.ranges import RANGES

for _range in RANGES:  # so that signatures can have these types
    _kind: Any = _range
    register_type(_kind, _kind.number, _kind, ArgumentTypeError, lambda value, kind: kind.includes(value))
register_type(timedelta, str, parse_duration, ValueError)  # jsonargparse would read 00:00:10:00 as 10 seconds
