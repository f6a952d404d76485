"""What a search may choose from: ranges of flags, as a command line writes them."""

import math
import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import yaml

from project.runtime.errors import UserError

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

PREFIX = "--search."
HELP = """\
Any flag of train.py can be searched, as --search.FLAG RANGE:

  --search.optimizer.lr "log(1e-4, 1)"           a number, by its logarithm
  --search.model.net.dropout "uniform(0, 0.5)"   a number
  --search.model.net.hidden "int(16, 256)"       a whole number; logint(16, 256) by its logarithm
  --search.optimizer "choice(AdamW, SGD)"        one of several args; lists as choice([32], [64, 64])

Further flags are those of train.py, and hold for every trial."""
FORMS = "uniform(low, high), log(low, high), int(low, high), logint(low, high) or choice(one, another)"


def split_words(args: Iterable[str]) -> tuple[dict[str, str], list[str]]:
    """The ranges of flags among command line args, by flag, and the other args."""
    ranges, others, following = dict[str, str](), list[str](), iter(args)
    for arg in following:
        if not arg.startswith(PREFIX):
            others.append(arg)
            continue
        flag, equals, text = arg.removeprefix(PREFIX).partition("=")
        if flag in ranges:
            raise UserError(f"{PREFIX}{flag}: is given twice: leave one out")
        ranges[flag] = (text if equals else next(following, "")).strip()
        read_range(flag, ranges[flag])
    return ranges, others


def read_range(flag: str, text: str) -> tuple[str, list[Any]]:
    """The kind of a range, and its bounds or choices.

    Raises:
        UserError: If it cannot be read, or holds nothing.
    """
    called = re.fullmatch(r"(uniform|log|int|logint|choice)\((.*)\)", text, re.DOTALL)
    if not called:
        raise UserError(f"{PREFIX}{flag} {text!r}: give {FORMS}")
    kind, values = called[1], _values(called[2])
    if kind == "choice":
        if not values or len(set(values)) < len(values):
            raise UserError(f"{PREFIX}{flag} {text}: give choices that differ, as in choice(one, another)")
        return kind, values
    number = int if kind.endswith("int") else float
    try:
        low, high = map(number, values)
    except ValueError:
        a = "two whole numbers" if number is int else "two numbers"
        raise UserError(f"{PREFIX}{flag} {text}: give {a}, as in {kind}(1, 10)") from None
    if not low < high or not math.isfinite(high - low):
        raise UserError(f"{PREFIX}{flag} {text}: give the lower bound first, and a higher one")
    if kind.startswith("log") and low <= 0:
        raise UserError(f"{PREFIX}{flag} {text}: a logarithm needs bounds above 0")
    return kind, [low, high]


def _values(text: str) -> list[str]:
    """What commas outside brackets and quotes separate."""
    try:
        nodes = yaml.compose(f"[{text}]", Loader=yaml.SafeLoader).value
    except yaml.YAMLError:
        return []
    return [
        node.value if isinstance(node, yaml.ScalarNode) else f"[{text}]"[node.start_mark.index : node.end_mark.index]
        for node in nodes
    ]


def distribution(flag: str, text: str) -> "BaseDistribution":
    """A range as Optuna knows it."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    kind, values = read_range(flag, text)
    if kind == "choice":
        return CategoricalDistribution(values)
    number = IntDistribution if kind.endswith("int") else FloatDistribution
    return number(low=values[0], high=values[1], log=kind.startswith("log"))


def as_words(values: Mapping[str, Any]) -> list[str]:
    """Flags with their values; classes before their arguments."""
    return [f"--{flag}={values[flag]}" for flag in sorted(values, key=lambda flag: flag.count("."))]
