"""Flags and class names that users know from other programs, and what to type instead."""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from project.config.arguments import Argument, as_list, shell_text, split_arguments
from project.config.class_names import KINDS, kind_of, known_classes, nearest_class, other_kind, required_arguments
from project.config.flag_errors import FlagError
from project.config.other_flags import SPELLINGS, TYPED
from project.config.trust import granted
from project.config.value_errors import placeholder

CHOSEN_BY = {kind.flag: name for name, kind in KINDS.items()}
UNKNOWN = "unknown flag "
# Arguments that the default class does not have, so that another class has to be chosen before them.
NEED_CLASS = (
    "--data.path",
    "--data.target",
    "--data.task",
    "--data.weights",
    "--model.net.hidden",
    "--model.net.dropout",
)
LISTS = ("hidden", "channels", "features", "target", "freeze", "reinitialize", "betas", "milestones")
MAX_NAME = 255  # maximum length of a file name in bytes
SETTINGS, TABLES = (".yaml", ".yml", ".json"), (".csv", ".tsv", ".txt", ".parquet", ".pq", ".data", ".xlsx")


class Correction(NamedTuple):
    """The correction of an argument.

    Attributes:
        problem: What is wrong.
        instead: What to type instead.
        meant: The class that the user probably meant by an unknown name.
    """

    problem: str
    instead: list[Argument]
    meant: str = ""


def refuse_habits(arguments: Sequence[Argument], has_settings: bool = False) -> None:
    """Check that no flags and names come from other programs.

    Args:
        arguments: The command line.
        has_settings: Whether the flags change the settings of a run, so that data and network are chosen already.

    Raises:
        FlagError: If there are some. The message contains what to type instead of all of them.
    """
    # Commands that work on a run have an `--out` of their own.
    ours = [argument for argument in arguments if not (has_settings and argument.flag.startswith("--out"))]
    has_settings |= any(argument.flag in ("--config", "-c", "--ckpt_path") for argument in arguments)
    corrections = {argument: found for argument in ours if (found := _correction(argument, arguments, has_settings))}
    if not corrections:
        return
    right = [argument for argument in arguments if argument not in corrections]
    instead = [new for found in corrections.values() for new in found.instead]
    if not has_settings:
        instead = _completed(instead, right)
    message = f"{_problem(list(corrections.values()))} {shell_text(dict.fromkeys(instead))}"
    raise FlagError(message.removesuffix("; use "))


def _problem(corrections: Sequence[Correction]) -> str:
    """Return the first part of the message, which ends in "use"; what to type instead follows it."""
    if len(corrections) == 1 and (meant := corrections[0].meant):
        return f"{corrections[0].problem}; did you mean {meant!r}? Use"
    unknown = [found.problem.removeprefix(UNKNOWN) for found in corrections if found.problem.startswith(UNKNOWN)]
    problems = [f"unknown flags {', '.join(unknown)}"] if len(unknown) > 1 else []
    problems += [found.problem for found in corrections if not (problems and found.problem.startswith(UNKNOWN))]
    return "; ".join(dict.fromkeys([*problems, "use"]))


def _correction(argument: Argument, arguments: Sequence[Argument], has_settings: bool) -> Correction | None:
    flag, values = argument.flag, argument.values
    if not flag:
        return _positional(values)
    template = TYPED.get(re.sub(r"^--?(train(er)?\.)?", "", flag).replace("-", "_"), "")
    # A model of a trusted module may have an argument of this name.
    known = f"{flag} " in template or (flag.startswith("--model.") and granted())
    if template and not known and not (flag == "--weights" and values and values[0].endswith(SETTINGS)):
        return Correction(UNKNOWN + flag, _rewritten(template, values, _chosen("--model.net", arguments)))
    if not has_settings and (chooser := _unchosen(flag, arguments)):
        rewritten = _rewritten(f"{flag} {placeholder(flag)}", values, None)
        return Correction(f"{flag}: needs {chooser} before it", rewritten)
    if values and (kind := CHOSEN_BY.get(flag)):
        return _class_correction(flag, kind, values[0])
    if len(values) > 1 and flag not in ("--resume.allow", "--config", "-c"):
        if flag.rpartition(".")[2] in LISTS or all(map(_is_number, values)):
            return Correction(f"{flag}: a list is one value", [Argument(flag, (as_list(values),))])
        if extra := _positional(values[1:]):
            return Correction(extra.problem, [Argument(flag, values[:1]), *extra.instead])
    return None


def _rewritten(template: str, values: Sequence[str], net: str | None) -> list[Argument]:
    """Return a key of `HABITS` with the user's values in place of the placeholder."""
    *others, (flag, words, _) = split_arguments(template.split())
    value = " ".join(values)
    value = words[0] if value.lower() in ("", "true") else value
    value = SPELLINGS.get(flag, {}).get(value, value)
    if flag == "--data.path" and (name := _exact("data", value)):
        return [Argument("--data", (name,))]
    if kind := kind_of(flag):
        value = nearest_class(kind, value) or value
    elif flag == "--model.net.hidden":
        if net in ("Transformer", "EncoderDecoder"):
            flag = "--model.net.width"
        elif net in (None, "MLP"):
            value = as_list(values or ["64", "64"])
    elif flag == "--data.features" and not _is_number(value):
        value = as_list(values) if values else "[COLUMN, COLUMN]"
    elif flag == "--data.target" and len(values) > 1:
        value = as_list(values)
    if (flag == "--trainer.accelerator" and template.endswith(("cpu", "gpu"))) or template.endswith("bar false"):
        value = words[0]  # --cuda, --cpu and --quiet need no value
    if flag == "--trainer.devices" and value == "0":
        return [Argument("--trainer.accelerator", ("cpu",))]
    return [*others, Argument(flag, (value,))]


def _positional(values: Sequence[str]) -> Correction | None:
    """Correct values that belong to no flag: files, runs and names of classes."""
    if values[0] in ("fit", "train"):  # LightningCLI has a subcommand for each method of the Trainer
        return Correction(f"{values[0]}: is not needed; remove it", [])
    instead = []
    for value in values:
        if value.endswith(SETTINGS[:2]):
            instead.append(Argument("--config", (value,)))
        elif value == "last" or value.endswith(".ckpt") or (Path(value) / "checkpoints").is_dir():
            instead.append(Argument("--ckpt_path", (value,)))
        elif _is_table(value):
            instead.append(Argument("--data.path", (value,)))
        elif found := other_kind("", value):
            instead.append(Argument(KINDS[found[0]].flag, (found[1],)))
        else:
            return None
    return Correction(f"{' '.join(values)}: not the value of a flag", instead)


def _class_correction(flag: str, kind: str, value: str) -> Correction | None:
    """Correct a name that is not a class of the expected kind, unless it may be a class of the user's."""
    if value in known_classes(kind) or value.lower() in ("true", "false", "null"):
        return None
    if kind == "data" and _is_table(value):
        return Correction(f"{flag} {value}: a file, not a data module", [Argument("--data.path", (value,))])
    if not value.isidentifier():
        return None
    if (name := _exact(kind, value)) is None and (found := other_kind(kind, value)):
        other, name = found
        problem = f"{flag}: {name} is {KINDS[other].noun}, not {KINDS[kind].noun}"
        return Correction(problem, [Argument(KINDS[other].flag, (name,))])
    if name := name or nearest_class(kind, value):
        return Correction(f"{flag}: unknown class {value!r}", [Argument(flag, (name,))], name)
    return None


def _completed(instead: Sequence[Argument], right: Sequence[Argument]) -> list[Argument]:
    """Add the classes to which corrected arguments belong, and the arguments that classes require."""
    flags = {argument.flag for argument in [*instead, *right]}
    new: list[Argument] = []
    if "--data" not in flags and any(_needs_table(argument) for argument in instead):
        new.append(Argument("--data", ("TabularDataModule",)))
    if "--model.net" not in flags and any(argument.flag.startswith("--model.net.") for argument in instead):
        new.append(Argument("--model.net", ("MLP",)))
    if "--model" not in flags and Argument("--model.loss", ("CrossEntropyLoss",)) in instead:
        new.append(Argument("--model", ("Classification",)))
    new += instead
    for argument in [*new, *(other for other in right if other.flag == "--data")]:
        if argument.values and (kind := CHOSEN_BY.get(argument.flag)):
            needed = [f"{argument.flag}.{name}" for name in required_arguments(kind, argument.values[0])]
            new += [Argument(flag, (placeholder(flag),)) for flag in needed if flag not in flags]
    return new


def _needs_table(argument: Argument) -> bool:
    flag, values, _ = argument
    return flag in ("--data.path", "--data.target", "--data.task", "--data.weights") or (
        flag == "--data.features" and not _is_number(values[0])
    )


def _unchosen(flag: str, arguments: Iterable[Argument]) -> str:
    """Return the flag that has to choose a class with this argument; "" if the class has been chosen."""
    section = flag.rpartition(".")[0]
    if flag not in NEED_CLASS or granted():  # a class of the user's may have other defaults
        return ""
    if section == "--model.net" and _chosen("--model", arguments) == "LanguageModel":
        return ""  # the default net is GPT
    chosen = any(argument.flag == section for argument in arguments) or _chosen(section, arguments)
    return "" if chosen else section


def _chosen(flag: str, arguments: Iterable[Argument]) -> str | None:
    """Return the class that a command line chooses with a flag, or with the same flag of another program."""
    for argument in arguments:
        name = argument.flag.lstrip("-")
        if argument.values and (argument.flag == flag or TYPED.get(name, "").startswith(f"{flag} ")):
            return nearest_class(kind_of(flag), argument.values[0])
    return None


def _exact(kind: str, name: str) -> str | None:
    """Return the class of a kind with this name, ignoring case and a missing suffix; None for no such class."""
    names = {known.lower(): known for known in known_classes(kind)}
    return names.get(name.lower()) or names.get(name.lower() + KINDS[kind].ending.lower())


def _is_number(text: str) -> bool:
    return re.fullmatch(r"[-+]?[\d.]+(e[-+]?\d+)?", text) is not None


def _is_table(value: str) -> bool:
    path = Path(value)
    named = value.lower().endswith(TABLES) and not value.rpartition(".")[2][:1].isupper()  # unlike mine.Data
    return named or "://" in value or (len(value) < MAX_NAME and path.exists() and path.suffix not in SETTINGS)
