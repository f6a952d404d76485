"""Preparation of a command line for jsonargparse, which reads from left to right and prefers files to class names."""

from collections.abc import Sequence

from project.config.arguments import Argument, join_arguments, split_arguments
from project.config.class_help import answer_class_help
from project.config.class_names import class_path, kind_of
from project.config.habits import refuse_habits
from project.config.yaml import GROUPS, require_settings
from project.runtime.address import expand_home


def prepare_arguments(args: Sequence[str], has_settings: bool = False) -> list[str]:
    """Return the flags of scripts/train.py as the parser needs them.

    Flags that choose a class are moved before the arguments of the class. The name of a known class becomes its import
    path if a file has the same name. `~/` and `$HOME/` are expanded, since no shell expands `--flag=~/folder`.

    Args:
        args: The command line.
        has_settings: Whether the flags change the settings of a run instead of the defaults.

    Raises:
        SystemExit: After the help of `--FLAG.help NAME` has been printed.
        FlagError: If there are flags of other programs. The message contains what to type instead.
        UserError: If the file of a section is not YAML.
    """
    arguments = split_arguments(args)
    answer_class_help(arguments)
    refuse_habits(arguments, has_settings)
    expanded = [_expand_argument(argument) for argument in classes_first(arguments)]
    for argument in expanded:
        _check_section_file(argument)
    return join_arguments(expanded)


def classes_first(arguments: Sequence[Argument]) -> list[Argument]:
    """Move the arguments of a class behind the flag that chooses the class."""
    ordered: list[Argument] = []
    named: set[str] = set()
    for argument in arguments:
        flag = argument.flag.removesuffix("+")
        if kind_of(flag) and flag not in named:
            named.add(flag)
            early = [other for other in ordered if other.flag.startswith(f"{flag}.")]
            ordered = [other for other in ordered if other not in early] + [argument, *early]
        else:
            ordered.append(argument)
    return ordered


def _expand_argument(argument: Argument) -> Argument:
    if not argument.values:
        return argument
    value, *others = map(expand_home, argument.values)
    return argument._replace(values=(class_path(kind_of(argument.flag), value), *others))


def _check_section_file(argument: Argument) -> None:
    """Check the file of a section, as in `--trainer trainer.yaml`, since jsonargparse's errors quote its content."""
    if argument.values and argument.flag.removeprefix("--") in (*GROUPS, "optimizer", "lr_scheduler"):
        require_settings(argument.values[0])
