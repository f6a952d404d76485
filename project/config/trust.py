"""Which code data may name. Configurations and checkpoints choose classes by import path, and importing or building a
class runs code: only modules known to be harmless are looked into, and others where the command line trusts them."""

import argparse
import importlib
import pkgutil
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from jsonargparse import Namespace, set_parsing_settings

from project.runtime.errors import UserError

KNOWN = (
    *("project.callbacks", "project.data", "project.models", "project.nets"),
    *("torch.nn", "torch.optim"),
    *(f"lightning.pytorch.{part}" for part in ("accelerators", "callbacks", "loggers", "plugins", "profilers")),
    *("lightning.pytorch.strategies", "lightning.pytorch.cli.ReduceLROnPlateau"),
    *(f"lightning.fabric.{part}" for part in ("accelerators", "plugins", "strategies")),  # what those re-export
)
_granted: set[str] = set()


def with_trust(args: Sequence[str]) -> list[str]:
    """Allow the modules that the args `--trust MODULE` of a command line name, and return the other args.

    Only args grant trust: the parser of configurations does not know the flag, so that no file can.
    """
    scan = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    scan.add_argument("--trust", action="append", default=[])
    try:
        given, others = scan.parse_known_args(args)
    except argparse.ArgumentError as error:
        raise UserError("--trust needs the name of a module") from error
    allow_imports(given.trust)
    return others


def allow_imports(trusted: Sequence[str] = ()) -> None:
    """Let configurations name what lies in the known modules and in trusted ones, from now on, and nothing else.

    Args:
        trusted: Modules, which are imported, so that their classes can be given by name; the working folder is searched
            last.

    Raises:
        UserError: If there is no such module.
    """
    revoked = _granted - set(trusted)
    still = [name for name in revoked if within(name, (*KNOWN, *trusted))]
    try:
        set_parsing_settings(
            import_path_denylist=["*", *revoked],
            import_path_allowlist=[*KNOWN, *trusted, *still],
            instantiate_subclass_spec_in_any=False,  # arguments of any type hold data, and build nothing
            config_read_mode_urls_enabled=False,  # nor does a file have another one fetched, as Lightning allows
            config_read_mode_fsspec_enabled=False,
        )
    except ValueError as error:
        raise UserError(f"--trust {' '.join(trusted)}: {error}") from error
    _granted.clear()
    _granted.update(trusted)
    sys.path.append(folder := str(Path.cwd()))
    try:
        for name in trusted:
            importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise UserError(f"--trust {name}: {error}: give a module that Python finds, here or by PYTHONPATH") from error
    finally:
        del sys.path[len(sys.path) - 1 - sys.path[::-1].index(folder)]


def granted() -> list[str]:
    """The modules that are trusted now, beside the known ones."""
    return sorted(_granted)


def within(path: str, modules: Sequence[str]) -> bool:
    """Whether an import path is one of the modules, or lies in one."""
    return any(path == module or path.startswith(module + ".") for module in modules)


def require_known(config: Namespace) -> None:
    """Raise a UserError where a configuration names more than classes (and functions as plain values).

    To jsonargparse a function that returns instances of a class is as good as the class, with arguments of the file's
    choice.
    """
    for key, value in _leaves(config.as_dict(), ""):
        flag = "--" + re.sub(r"\.?(init_args\.|class_path$)", ".", key).strip(".").replace("..", ".")
        if key.rpartition(".")[2] == "class_path" and isinstance(value, str):
            if not within(value, KNOWN + tuple(_granted)):
                raise untrusted(flag, value)
            if not within(value, tuple(_granted)) and not isinstance(pkgutil.resolve_name(value), type):
                raise UserError(f"{flag}: {value} is not a class")
        elif callable(value) and not isinstance(value, type):
            module, name = getattr(value, "__module__", None) or "", getattr(value, "__qualname__", "")
            if not within(module, tuple(_granted)) and ("." in name or not within(module, KNOWN)):
                raise untrusted(flag, f"{module}.{name}")


def untrusted(flag: str, path: str) -> UserError:
    """The error about an import path that is not to be looked into."""
    module = path.split(".")[0]
    if module in sys.stdlib_module_names or module in ("", "project", "torch", "lightning", "jsonargparse"):
        return UserError(f"{flag}: {path} is nothing that a configuration may name")
    return UserError(f"{flag}: {path} is not in a trusted module: give --trust {module} to allow it")


def _leaves(value: Any, key: str) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        for name, part in value.items():
            yield from _leaves(part, f"{key}.{name}" if key else str(name))
    elif isinstance(value, list | tuple):
        for part in value:
            yield from _leaves(part, key)
    else:
        yield key, value
