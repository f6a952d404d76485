"""Command lines of scripts, whose mistakes are told in one line."""

import argparse
from typing import Any, NoReturn

from project.runtime.errors import exit_with_error


class ArgumentParser(argparse.ArgumentParser):
    """As argparse's own, without abbreviations: a arg that begins like one of its flags may be meant for train.py."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(allow_abbrev=False, **kwargs)

    def error(self, message: str) -> NoReturn:
        """End the process with exit status 2 and one line on standard error."""
        exit_with_error(message.removeprefix("argument "))
