"""Parsing of the scripts' own flags."""

import argparse
import re
from pathlib import Path
from typing import Any, NoReturn

from project.runtime.address import is_remote, local_path
from project.runtime.errors import exit_with_error


class ArgumentParser(argparse.ArgumentParser):
    """An `argparse.ArgumentParser` without abbreviated flags, since scripts pass unknown flags on to train.py."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(allow_abbrev=False, **kwargs)

    def error(self, message: str) -> NoReturn:
        """End the process with exit status 2 and one line on stderr, which says what to type."""
        kind, _, names = message.partition(": ")
        if kind == "the following arguments are required":
            usage = " ".join(self.format_usage().split())
            command = re.sub(r" \[(?:[^][]|\[[^][]*\])*\]", "", usage)  # without what is optional
            message = f"missing {names}; type {command.replace('usage: ', 'python scripts/')}"
        elif kind == "unrecognized arguments":
            message = f"unknown argument {names.split()[0]}; {self.prog} --help lists what it takes"
        exit_with_error(message.removeprefix("argument "))


def boolean(text: str) -> bool:
    """Parse `true` or `false`. Use it as the `type` of an argument."""
    if text.lower() not in ("true", "false"):
        raise argparse.ArgumentTypeError(f"must be true or false, got {text}")
    return text.lower() == "true"


def path(text: str) -> Path:
    """Parse a local path, including `~/…` and `file://…`. Use it as the `type` of an argument."""
    if is_remote(text):
        raise argparse.ArgumentTypeError("must be a path on this machine; copy remote files yourself")
    return local_path(text)
