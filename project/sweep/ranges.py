"""Search spaces: ranges of flags, as the command line writes them."""

import math
import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import yaml

from project.runtime.errors import UserError

if TYPE_CHECKING:
    from optuna import Trial

PREFIX = "--search."
HELP = """\
Any flag of train.py can be searched, as --search.FLAG RANGE:

  --search.optimizer.lr "log(1e-4, 1)"           a number, sampled on a logarithmic scale
  --search.model.net.dropout "uniform(0, 0.5)"   a number
  --search.model.net.hidden "int(16, 256)"       an integer; logint(16, 256) samples on a logarithmic scale
  --search.optimizer "choice(AdamW, SGD)"        one of several values; write lists as choice([32], [64, 64])

All other flags are those of train.py and apply to every trial."""
FORMS = "uniform(low, high), log(low, high), int(low, high), logint(low, high) or choice(one, another)"


def split_search_args(args: Iterable[str]) -> tuple[dict[str, str], list[str]]:
    """Split command line arguments into ranges by flag (`{"optimizer.lr": "log(1e-4, 1)"}`) and all others.

    Raises:
        UserError: If a flag has two ranges, or a range is invalid.
    """
    ranges, others, following = dict[str, str](), list[str](), iter(args)
    for arg in following:
        if not arg.startswith(PREFIX):
            others.append(arg)
            continue
        flag, equals, text = arg.removeprefix(PREFIX).partition("=")
        if flag in ranges:
            raise UserError(f"{PREFIX}{flag}: passed twice; remove one")
        ranges[flag] = (text if equals else next(following, "")).strip()
        read_range(flag, ranges[flag])
    return ranges, others


def read_range(flag: str, text: str) -> tuple[str, list[Any]]:
    """Parse a range into its kind and its bounds (numbers) or choices (text).

    Raises:
        UserError: If the text is not a range, or the range is empty.
    """
    called = re.fullmatch(r"(uniform|log|int|logint|choice)\((.*)\)", text, re.DOTALL)
    kind, values = (called[1], _split_values(called[2])) if called else ("", [])
    if rule := _broken_rule(kind, values):
        raise UserError(f"{PREFIX}{flag}: must {rule}, got {text!r}")
    return kind, values if kind == "choice" else [_number(kind)(value) for value in values]


def _number(kind: str) -> type[float]:
    return int if kind.endswith("int") else float


def _broken_rule(kind: str, values: list[str]) -> str | None:
    """Return the rule that a range breaks, if any."""
    if not kind:
        return f"be {FORMS}"
    if kind == "choice":
        return None if 0 < len(values) == len(set(values)) else "list different choices, as in choice(one, another)"
    try:
        low, high = map(_number(kind), values)
    except ValueError:
        return f"have two {'integers' if kind.endswith('int') else 'numbers'} as bounds, as in {kind}(1, 10)"
    if not low < high or not math.isfinite(high - low):
        return "have finite bounds, the lower one first"
    return "have bounds above 0 for a logarithmic scale" if kind.startswith("log") and low <= 0 else None


def _split_values(text: str) -> list[str]:
    """Split text at the commas outside brackets and quotes."""
    try:
        nodes = yaml.compose(f"[{text}]", Loader=yaml.SafeLoader).value
    except yaml.YAMLError:
        return []
    return [
        node.value if isinstance(node, yaml.ScalarNode) else f"[{text}]"[node.start_mark.index : node.end_mark.index]
        for node in nodes
    ]


def suggest(trial: "Trial", flag: str, text: str) -> None:
    """Let Optuna choose a value within a range; it becomes `trial.params[flag]`."""
    kind, values = read_range(flag, text)
    if kind == "choice":
        trial.suggest_categorical(flag, values)
    else:
        suggest_number = trial.suggest_int if kind.endswith("int") else trial.suggest_float
        suggest_number(flag, *values, log=kind.startswith("log"))


def as_args(values: Mapping[str, Any]) -> list[str]:
    """Write flags and values as arguments; a class precedes its own arguments, as jsonargparse requires."""
    return [f"--{flag}={values[flag]}" for flag in sorted(values, key=lambda flag: flag.count("."))]
