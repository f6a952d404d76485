"""Command lines, split into flags with their values."""

import re
import shlex
from collections.abc import Iterable, Sequence
from typing import NamedTuple


class Argument(NamedTuple):
    """A flag with its values.

    Attributes:
        flag: The flag with its dashes; empty for values before the first flag.
        values: The values up to the next flag.
        joined: Whether the first value is written `--flag=value`.
    """

    flag: str
    values: tuple[str, ...] = ()
    joined: bool = False


def split_arguments(args: Iterable[str]) -> list[Argument]:
    """Split a command line before each flag; a negative number is a value."""
    found: list[Argument] = []
    for arg in args:
        if arg.startswith("--") or re.fullmatch("-[a-z]", arg):
            flag, equals, value = arg.partition("=")
            found.append(Argument(flag, (value,) if equals else (), bool(equals)))
        elif found:
            found[-1] = found[-1]._replace(values=(*found[-1].values, arg))
        else:
            found.append(Argument("", (arg,)))
    return found


def join_arguments(arguments: Iterable[Argument]) -> list[str]:
    """Return the command line of arguments; the inverse of `split_arguments`."""
    args: list[str] = []
    for flag, values, joined in arguments:
        args += [f"{flag}={values[0]}", *values[1:]] if joined else [*([flag] if flag else []), *values]
    return args


def shell_text(arguments: Iterable[Argument]) -> str:
    """Return arguments as text that can be typed in a shell."""
    return " ".join(map(quoted, join_arguments(arguments)))


def quoted(arg: str) -> str:
    """Quote an argument for a shell if needed, with double quotes if possible, since all shells know them."""
    safe = shlex.quote(arg)
    return f'"{arg}"' if safe != arg and not re.search(r'["$`\\!]', arg) else safe


def as_list(values: Sequence[str]) -> str:
    """Return values as the text of one list: `64` becomes `[64]`; `64 64`, `64,64` and `[64, 64]` become `[64, 64]`."""
    parts = [part for value in values for part in re.split(r"[,\s]+", value.strip("[] ")) if part]
    return f"[{', '.join(parts)}]"
