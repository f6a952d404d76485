"""One line about a flag, out of jsonargparse's explanation of every type that it tried."""

import re
from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches

from project.config.trust import untrusted
from project.runtime.errors import UserError


class FlagError(UserError):
    """A flag that there is not, or a value that it does not take."""


def flag_error(error: BaseException, flags: Iterable[str]) -> UserError:
    """The mistake in a parser's exception; a `FlagError`, unless what was built raised its own.

    Args:
        error: Raised while parsing flags or building what they describe.
        flags: All flags, to suggest a near one.
    """
    root: BaseException = error
    cause: BaseException | None = error
    while cause is not None:  # jsonargparse wraps what a constructor raises
        if isinstance(cause, UserError):
            return cause
        if isinstance(cause, ValueError) and raised_in(cause).startswith("project.nets"):
            return UserError(str(cause))
        root, cause = cause, cause.__cause__ or cause.__context__
    message = str(error)
    if unknown := re.match(r"unrecognized arguments: (.*)", message, re.IGNORECASE):
        arg = unknown[1].split()[0]
        if not arg.startswith("-"):
            return FlagError(f"{arg}: belongs to no flag: runs and files come first, and lists in quotes")
        flags = [flag for flag in flags if not flag.endswith(".help")]
        near = get_close_matches(arg.split("=")[0], flags, n=1)
        mend = f"did you mean {near[0]}?" if near else "--help lists this command's own, train.py --help the others"
        return FlagError(f"unknown flag {arg}: {mend}")
    keys = ".".join(re.findall(r'Parser key "([^"]+)"', message))
    if denied := re.search(r"Importing '([^']+)' is not allowed", message):
        return untrusted(f"--{keys}", denied[1])
    if keys:
        return FlagError(f"--{keys}: {_reason(message)}")
    return FlagError(message) if raised_in(root).startswith("jsonargparse") else UserError(str(root))


def refuse_flags(args: Sequence[str], mends: Mapping[str, str]) -> None:
    """Raise a UserError for a flag that means nothing where it is given.

    Args:
        args: Flags of scripts/train.py.
        mends: Flags or sections, without dashes, and what is told of each.
    """
    for arg in args:
        flag = arg.removeprefix("--").split("=")[0]
        for name, mend in mends.items():
            if arg.startswith("--") and (flag == name or flag.startswith(f"{name}.")):
                raise FlagError(f"--{flag}: {mend}")


def _reason(message: str) -> str:
    """What is wrong with a value, in the order in which one finding explains the others away."""
    of = re.search(r"Problem with given class_path '(?:\w+\.)*(\w+)'", message)
    owner = of[1] if of else "it"
    if required := re.search(r"the following arguments are required: (.*)", message):
        names, _, got = required[1].partition(". Got value: ")
        inner = re.match(r"Namespace\(class_path='(?:\w+\.)*(\w+)'", got)
        return f"{inner[1] if inner else owner} needs {names}"
    if option := re.search(r"Option '(.*?)' is not accepted", message):
        return f"{owner} has no argument {option[1]!r}"
    if rule := re.search(r"Not of type \w+: (must be .*)", message):  # of project.runtime.ranges
        return rule[1]
    given = re.findall(r"Given value: (?:NestedArg\(.*?val=)?(.*?)\)?$", message, re.MULTILINE)
    value = given[0].partition(". Got value: ")[0].strip("'") if given else ""
    expected = [name for name in re.findall(r"Expected a <class '(?:\w+\.)*(\w+)'>", message) if name != "NoneType"]
    if literals := re.findall(r"Expected a typing.Literal\[(.*?)\]", message):
        return f"{value!r} is not one of {', '.join(literals)}"
    if kind := next((name for name in ("int", "float", "bool", "str") if name in expected), None):
        return f"{value!r} is not {'an' if kind == 'int' else 'a'} {kind}"
    if name := re.search(r"Expected a dot import path string: (.*)", message):
        return f"there is no class {name[1]!r} to be given here"
    if "list" in expected:
        return f'{value!r} is not a list: write it as "[{value}]"'
    return " ".join(
        re.sub(r"Parser key \"[^\"]+\":|Does not validate.*|Subtypes:.*|Errors:|Given value.*", "", message).split()
    )


def raised_in(error: BaseException) -> str:
    """Name of the module whose code raised an exception."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return str(trace.tb_frame.f_globals.get("__name__", "")) if trace is not None else ""
