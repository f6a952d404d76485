"""Short messages about an invalid value of a flag, since jsonargparse's message lists every type that it has tried."""

import re
from difflib import get_close_matches

from jsonargparse import ArgumentParser

from project.config.arguments import Argument, as_list, quoted, shell_text
from project.config.class_names import KINDS, class_names, kind_of, known_classes, nearest_class

PLACEHOLDERS = {"--data.path": "FILE", "--data.target": "COLUMN", "--ckpt_path": "RUN", "--trainer.max_epochs": "N"}
SYNONYMS = {"learning_rate": "lr", "file": "path", "csv": "path"}
ELSEWHERE = {  # arguments that people look for in the model
    **dict.fromkeys(("lr", "learning_rate"), "--optimizer.lr"),
    **{name: f"--optimizer.{name}" for name in ("weight_decay", "momentum")},
    **{name: f"--model.net.{name}" for name in ("hidden", "dropout")},
    "batch_size": "--data.batch_size",
}
MAX_LISTED = 16
EXAMPLES = {"int": "10", "float": "0.1", "bool": "true"}


def reason(flag: str, message: str) -> str:
    """Return what is wrong with a value, from jsonargparse's message. Of several explanations, the first is used."""
    rule = re.search(r"Not of type (\w+): (must be .*)", message)  # from project.runtime.ranges or a tensor
    if rule and rule[1] != "Tensor":
        names = re.search(r"Expected a typing.Literal\[(.*?)\]", message)
        return rule[2].replace(", got", f", or one of {names[1]}, got") if names else rule[2]
    given = re.findall(r"Given value: (?:NestedArg\(.*?val=)?(.*?)\)?$", message, re.MULTILINE)
    value = given[0].partition(". Got value: ")[0].strip("'") if given else ""
    explanations = (_wrong_argument, _wrong_number, _wrong_class, _wrong_list)
    explained = next(filter(None, (explain(flag, value, message) for explain in explanations)), None)
    if rule and not explained:  # the type of a learning rate also allows tensors
        return rule[2]
    noise = r"Parser key \"[^\"]+\":|Does not validate.*|Subtypes:.*|Errors:|Given value.*"
    return explained or " ".join(re.sub(noise, "", message).split())


def _wrong_argument(flag: str, value: str, message: str) -> str | None:
    """Return a message about a missing or unknown argument of a class."""
    of = re.findall(r"(?:Problem with given class_path |Namespace\(class_path=)'(?:\w+\.)*(\w+)'", message)
    if required := re.search(r"the following arguments are required: (.*)", message):
        names, _, got = required[1].partition(". Got value: ")
        inner = re.match(r"Namespace\(class_path='(?:\w+\.)*(\w+)'", got)
        needed = [f"{flag}.{name}" for name in names.split(", ")]
        add = shell_text(Argument(name, (placeholder(name),)) for name in needed)
        return f"{inner[1] if inner else of[-1] if of else 'it'} needs {names}; add {add}"
    if option := re.search(r"Option '(.*?)' is not accepted", message):
        if of and option[1].partition(".")[0] == "net":  # a model from outside the project
            fix = f"pass its network to --model Regression or Classification as {flag}.net"
            return f"{of[-1]} has no argument 'net'; {fix}"
        return f"{of[-1]} has no argument {option[1]!r}{_near_argument(flag, of[-1], option[1], value)}" if of else None
    return None


def placeholder(flag: str) -> str:
    """Return the placeholder for the value of a flag in a message."""
    name = flag.rpartition(".")[2]
    return "val/loss" if name == "monitor" else PLACEHOLDERS.get(flag, name.upper())


def _wrong_number(flag: str, value: str, message: str) -> str | None:
    """Return a message about a value that is not a number, or not one of the allowed names."""
    expected = re.findall(r"Expected a <class '(?:\w+\.)*(\w+)'>", message)
    if literals := re.findall(r"Expected a typing.Literal\[(.*?)\]", message):
        choices = {choice.strip("'").lower(): choice.strip("'") for choice in literals[0].split(", ")}
        near = get_close_matches(value.lower(), choices, n=1)
        hint = f"; did you mean {flag} {choices[near[0]]}?" if near else ""
        return f"{value!r} is not one of {', '.join(literals)}{hint}"
    if kind := next((name for name in EXAMPLES if name in expected), None):
        return f"{value!r} is not {'an' if kind == 'int' else 'a'} {kind}, as in {flag} {EXAMPLES[kind]}"
    return None


def _wrong_list(flag: str, value: str, message: str) -> str | None:
    """Return a message about a value that is not a list, or not text."""
    if "Expected a <class 'list'>" in message:
        return f"{value!r} is not a list; use {flag} {quoted(as_list([value]))}"
    return f"{value!r} is not a str" if "Expected a <class 'str'>" in message else None


def _wrong_class(flag: str, value: str, message: str) -> str | None:
    """Return a message about the name of a class that does not exist or is of another kind."""
    base = re.search(
        r"does not correspond to a subclass of (\w+)|to be a subclass of (?:<class ')?(?:\w+\.)*(\w+)", message
    )
    if base:
        return f"{value} is not a subclass of {base[1] or base[2]}; {_nearest(flag, value)}"
    if name := re.search(r"Expected a dot import path string: (.*)", message):
        return _unknown_class(flag, name[1])
    if attribute := re.search(r"module '(.*)' has no attribute '(.*)'", message):
        return _unknown_class(flag, f"{attribute[1]}.{attribute[2]}")
    return None


def _unknown_class(flag: str, name: str) -> str:
    kind = kind_of(flag)
    if kind and nearest_class(kind, name):
        return f"unknown class {name!r}; {_nearest(flag, name)}"
    names = class_names(kind) if kind else []
    listed = ", ".join(names) if len(names) <= MAX_LISTED else f"the classes of {KINDS[kind].module}"
    expected = f"expected one of {listed}, or" if kind else "use"
    return f"unknown class {name!r}; {expected} your own with --trust MODULE"


def _nearest(flag: str, name: str) -> str:
    """Return a hint with the class that has the most similar name, or with all classes that a flag accepts."""
    kind = kind_of(flag)
    if kind and (near := nearest_class(kind, name)):
        return f"did you mean {near!r}?"
    if not kind:
        return "see --help all"
    return f"use one of {', '.join(class_names(kind))}"


def _near_argument(flag: str, owner: str, name: str, value: str) -> str:
    """Return a hint with the argument of a class that has the most similar name."""
    kind = kind_of(flag)
    found = known_classes(kind).get(owner) if kind else None
    if found is None:
        return ""
    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(found, fail_untyped=False)
    near = get_close_matches(SYNONYMS.get(name, name), parser.get_defaults().keys(), n=1)
    if near:
        return f"; did you mean {shell_text([Argument(f'{flag}.{near[0]}', (value,) if value else ())])}?"
    if flag == "--model" and name in ELSEWHERE:
        return f"; use {shell_text([Argument(ELSEWHERE[name], (value,) if value else ())])}"
    return f"; {flag}.help {owner} lists its arguments"
