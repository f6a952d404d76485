"""Conversion of exceptions from parsing flags, or from building the objects that they describe, to user errors."""

import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from types import TracebackType
from typing import Any

from jsonargparse import ArgumentParser
from lightning.fabric.utilities.exceptions import MisconfigurationException

from project.config.arguments import Argument, shell_text
from project.config.trust import untrusted, within
from project.config.value_errors import placeholder, reason
from project.runtime.errors import UserError

HINT_HELP = "--help lists the flags of this command, train.py --help all the others"
# Modules that call the code that flags name. `CHECKERS` are the packages that check the values of flags.
CALLERS = ("jsonargparse", "lightning.pytorch.cli", "project.training.trainer")
EXPECTED = (ValueError, TypeError, MisconfigurationException, ModuleNotFoundError)
CHECKERS = ("lightning", "lightning_utilities", "torch", "yaml", "project.config", "project.runtime")


class FlagError(UserError):
    """An unknown flag, or an invalid value of one."""


class ConstructorError(BaseException):
    """The constructor of a class that a flag names has raised an exception, which is the `__cause__` of this one.

    It is no `Exception`, because jsonargparse would catch that, try the other types of the argument, and report only
    the first problem.
    """


def construct(class_: type, *args: Any, **kwargs: Any) -> Any:
    """Return an instance of a class. Use it in the `instantiators` of a parser.

    Raises:
        ConstructorError: If the constructor raises an exception.
    """
    try:
        return class_(*args, **kwargs)
    except Exception as error:
        raise ConstructorError from error


CONSTRUCTING = (construct, object, True)


def flag_error(error: BaseException, flags: Iterable[str]) -> UserError:
    """Return the user error for an exception from parsing flags, or from building the objects that they describe.

    Args:
        error: The exception.
        flags: All flags, to suggest a similar one.

    Raises:
        BaseException: The exception itself, with its traceback, if it comes from code that does not check flags.
    """
    causes, message = list(_causes(error)), str(error)
    if missing := re.match(r"argument (?:-\w/)?(--\S+): expected one argument", message):
        return FlagError(f"{missing[1]}: expected a value, as in {missing[1]} {placeholder(missing[1])}")
    for cause in causes:
        if isinstance(cause, UserError):
            return cause
        if isinstance(cause, ValueError) and raised_in(cause).startswith("project.nets"):
            return UserError(str(cause))
    if isinstance(error, ConstructorError):
        root = causes[1]
        if isinstance(root, EXPECTED) and not _is_defect(root):
            return UserError(str(root))
        raise root from root.__cause__
    if defect := next((cause for cause in causes if _is_defect(cause)), None):
        raise defect from defect.__cause__
    if unknown := re.match(r"unrecognized arguments: (.*)", message, re.IGNORECASE | re.DOTALL):
        return _unknown_flag(unknown[1].split(" --")[0], flags)
    if option := re.match(r"Group '(.*)' does not accept option '(.*)'", message):
        return _unknown_flag(f"--{option[1]}.{option[2]}", flags)
    flag = "--" + ".".join(dict.fromkeys(re.findall(r'Parser key "([^"]+)"', message)))
    if denied := re.search(r"Importing '([^']+)' is not allowed", message):
        return untrusted(flag, denied[1])
    if flag != "--":
        return FlagError(f"{flag}: {reason(flag, message)}")
    if "No supported gpu backend" in message:
        return UserError("--trainer.accelerator: there is no GPU here; use --trainer.accelerator auto")
    if within(raised_in(causes[-1]), ("lightning",)):  # the Trainer raised it
        return UserError(f"{_trainer_flag(message, flags)}: {message}")
    return FlagError(message) if raised_in(causes[-1]).startswith("jsonargparse") else UserError(str(causes[-1]))


def _trainer_flag(message: str, flags: Iterable[str]) -> str:
    """Return the flag of the Trainer argument that its message mentions; `--trainer` if there is none."""
    names = [flag for flag in flags if flag.startswith("--trainer.")]
    return next((flag for flag in names if re.search(rf"\b{flag.rpartition('.')[2]}\b", message)), "--trainer")


def flag_names(parser: ArgumentParser) -> list[str]:
    """Return the flags of a parser."""
    keys = parser.get_defaults().keys()
    return sorted({"--" + key.replace(".init_args", "").removesuffix(".class_path") for key in keys})


def refuse_flags(args: Sequence[str], hints: Mapping[str, str]) -> None:
    """Check that a command supports all flags.

    Args:
        args: Flags of scripts/train.py.
        hints: The message for each unsupported flag or section, by its name without dashes.

    Raises:
        FlagError: If there is an unsupported flag.
    """
    for arg in args:
        flag = arg.removeprefix("--").split("=")[0]
        for name, hint in hints.items():
            if arg.startswith("--") and (flag == name or flag.startswith(f"{name}.")):
                raise FlagError(f"--{flag}: {hint}")


def raised_in(error: BaseException) -> str:
    """Return the name of the module whose code raised an exception."""
    return ([""] + [_module(frame) for frame in _frames(error)])[-1]


def _causes(error: BaseException) -> Iterator[BaseException]:
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        cause = cause.__cause__ or cause.__context__


def _frames(error: BaseException) -> Iterator[TracebackType]:
    trace = error.__traceback__
    while trace is not None:
        yield trace
        trace = trace.tb_next


def _module(trace: TracebackType) -> str:
    return str(trace.tb_frame.f_globals.get("__name__", ""))


def _is_defect(error: BaseException) -> bool:
    """Whether an exception comes from code that a flag has called and that does not check flags."""
    modules = [_module(trace) for trace in _frames(error)]
    last = max((n for n, name in enumerate(modules) if within(name, CALLERS)), default=-1)
    called = (name for name in modules[last + 1 :] if name.split(".")[0] not in sys.stdlib_module_names)
    return not all(within(name, CHECKERS) for name in called)


def _unknown_flag(text: str, flags: Iterable[str]) -> FlagError:
    flag, _, value = text.replace("=", " ", 1).partition(" ")
    if not flag.startswith("-"):
        return FlagError(f"{flag}: not the value of a flag; put runs and files first, and lists in quotes")
    known = [name for name in flags if not name.endswith(".help")]
    near = [name for name in known if name.endswith("." + flag.lstrip("-").replace("-", "_"))]
    if not (near := near or get_close_matches(flag, known, n=1, cutoff=0.75)):
        return FlagError(f"unknown flag {flag}; {HINT_HELP}")
    return FlagError(f"unknown flag {flag}; did you mean {shell_text([Argument(near[0], (value,) if value else ())])}?")
