"""Help about the arguments of a class, with complete flags."""

import re
import sys
from collections.abc import Iterable

from jsonargparse import ArgumentParser

from project.config.arguments import Argument
from project.config.class_names import FILLED_IN, class_names, kind_of, known_classes, nearest_class
from project.config.flag_errors import FlagError

NOT_FLAGS = ("lr_scheduler", "one_hot")  # arguments of models that have a flag of their own, or that the data sets


def answer_class_help(arguments: Iterable[Argument]) -> None:
    """If there is a flag `--FLAG.help NAME`, print the arguments of the class and end the process.

    jsonargparse's own help shortens the prefix `--model.net` of each flag to its last part.

    Raises:
        FlagError: If there is no such class.
    """
    for argument in arguments:
        flag = argument.flag.removesuffix(".help")
        if flag != argument.flag and (kind := kind_of(flag)):
            name = argument.values[0].rpartition(".")[2] if argument.values else ""
            if (found := known_classes(kind).get(name)) is None:
                near = (name and nearest_class(kind, name)) or f"NAME, one of {', '.join(class_names(kind))}"
                problem = f"unknown class {name!r}" if name else "expected the name of a class"
                raise FlagError(f"{argument.flag}: {problem}; use {argument.flag} {near}")
            print(class_help(flag, found), end="")
            sys.exit()


def class_help(flag: str, found: type) -> str:
    """Return the help for the arguments of a class as flags below `flag`."""
    summary = (found.__doc__ or found.__name__).strip().split("\n\n")[0]
    parser = ArgumentParser(
        add_help=False,
        usage=f"{flag} {found.__name__} [{flag}.ARGUMENT VALUE …]",
        description=" ".join(summary.split()),
    )
    parser.add_class_arguments(
        found,
        flag.lstrip("-"),
        as_group=False,
        fail_untyped=False,
        skip={*FILLED_IN, *NOT_FLAGS},
    )
    # jsonargparse lists every subclass of a type that is imported, such as the 150 metrics of torchmetrics.
    return re.sub(r",\s+known\s+subclasses:(?:\s+[\w.]+,?){13,}\)", ")", parser.format_help())
