"""One line about a flag, from jsonargparse's explanation of every type that it tried."""

import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches

from project.config.trust import untrusted
from project.runtime.errors import UserError

CLASSES = {  # where the classes come from that a flag takes by name, by the last part of the flag
    "model": "project.models",
    "net": "project.nets",
    "data": "project.data",
    "loss": "torch.nn",
    "optimizer": "torch.optim",
    "lr_scheduler": "torch.optim.lr_scheduler",
    "callbacks": "lightning.pytorch.callbacks",
    "logger": "lightning.pytorch.loggers",
}
HINT_HELP = "--help lists the flags of this command, train.py --help all others"


class FlagError(UserError):
    """An unknown flag, or an invalid value of one."""


def flag_error(error: BaseException, flags: Iterable[str]) -> UserError:
    """Return the user's mistake behind an exception in parsing flags or building the objects that they describe.

    It is a `FlagError`, unless the constructor of a class raised it. A similar flag is suggested from `flags`.
    """
    root: BaseException = error
    cause: BaseException | None = error
    while cause is not None:  # jsonargparse wraps the exceptions of constructors
        if isinstance(cause, UserError):
            return cause
        if isinstance(cause, ValueError) and raised_in(cause).startswith("project.nets"):
            return UserError(str(cause))
        root, cause = cause, cause.__cause__ or cause.__context__
    message = str(error)
    if unknown := re.match(r"unrecognized arguments: (.*)", message, re.IGNORECASE):
        return _unknown_flag(unknown[1].split()[0], flags)
    flag = "--" + ".".join(re.findall(r'Parser key "([^"]+)"', message))
    if denied := re.search(r"Importing '([^']+)' is not allowed", message):
        return untrusted(flag, denied[1])
    if flag != "--":
        return FlagError(f"{flag}: {_reason(flag, message)}")
    return FlagError(message) if raised_in(root).startswith("jsonargparse") else UserError(str(root))


def refuse_flags(args: Sequence[str], hints: Mapping[str, str]) -> None:
    """Raise a FlagError if a command does not support one of the flags.

    Args:
        args: Flags of scripts/train.py.
        hints: The message for each unsupported flag or section, which is named without dashes.
    """
    for arg in args:
        flag = arg.removeprefix("--").split("=")[0]
        for name, hint in hints.items():
            if arg.startswith("--") and (flag == name or flag.startswith(f"{name}.")):
                raise FlagError(f"--{flag}: {hint}")


def _unknown_flag(arg: str, flags: Iterable[str]) -> FlagError:
    if not arg.startswith("-"):
        return FlagError(f"{arg}: not the value of a flag; put runs and files first, and lists in quotes")
    near = get_close_matches(arg.split("=")[0], [flag for flag in flags if not flag.endswith(".help")], n=1)
    return FlagError(f"unknown flag {arg}; {f'did you mean {near[0]}?' if near else HINT_HELP}")


def _reason(flag: str, message: str) -> str:
    """Return what is wrong with a value; of several findings, the first that explains the others."""
    of = re.search(r"Problem with given class_path '(?:\w+\.)*(\w+)'", message)
    owner = of[1] if of else "it"
    if required := re.search(r"the following arguments are required: (.*)", message):
        names, _, got = required[1].partition(". Got value: ")
        inner = re.match(r"Namespace\(class_path='(?:\w+\.)*(\w+)'", got)
        return f"{inner[1] if inner else owner} needs {names}"
    if option := re.search(r"Option '(.*?)' is not accepted", message):
        return f"{owner} has no argument {option[1]!r}"
    if rule := re.search(r"Not of type \w+: (must be .*)", message):  # from project.runtime.ranges
        return rule[1]
    given = re.findall(r"Given value: (?:NestedArg\(.*?val=)?(.*?)\)?$", message, re.MULTILINE)
    value = given[0].partition(". Got value: ")[0].strip("'") if given else ""
    expected = [name for name in re.findall(r"Expected a <class '(?:\w+\.)*(\w+)'>", message) if name != "NoneType"]
    if literals := re.findall(r"Expected a typing.Literal\[(.*?)\]", message):
        return f"{value!r} is not one of {', '.join(literals)}"
    if kind := next((name for name in ("int", "float", "bool", "str") if name in expected), None):
        return f"{value!r} is not {'an' if kind == 'int' else 'a'} {kind}"
    if other := re.search(r"Expected '(.*?)' to be a subclass of <class '(.*?)'>", message):
        return f"{other[1]} is not a subclass of {other[2]}"
    if name := re.search(r"Expected a dot import path string: (.*)", message):
        return _unknown_class(flag, name[1])
    if attribute := re.search(r"module '(.*)' has no attribute '(.*)'", message):
        return _unknown_class(flag, f"{attribute[1]}.{attribute[2]}")
    if "list" in expected:
        return f'{value!r} is not a list; write it as "[{value}]"'
    return " ".join(
        re.sub(r"Parser key \"[^\"]+\":|Does not validate.*|Subtypes:.*|Errors:|Given value.*", "", message).split()
    )


def _unknown_class(flag: str, name: str) -> str:
    module = CLASSES.get(flag.lstrip("-").rpartition(".")[2], "")
    known = [key for key, value in vars(sys.modules.get(module, object)).items() if isinstance(value, type)]
    if near := get_close_matches(name.rpartition(".")[2], known, n=1):
        return f"unknown class {name!r}; did you mean {near[0]!r}?"
    expected = f"expected one from {module}, or" if module else "use"
    return f"unknown class {name!r}; {expected} your own with --trust MODULE"


def raised_in(error: BaseException) -> str:
    """Return the name of the module whose code raised an exception."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return str(trace.tb_frame.f_globals.get("__name__", "")) if trace is not None else ""
