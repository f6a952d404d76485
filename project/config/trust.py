"""Restriction of the modules from which a configuration may import.

Configurations and checkpoints name classes by import path, and importing or building a class runs code. Only modules
that are known to be harmless, and those that the command line trusts, are allowed.
"""

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

KNOWN_MODULES = (
    *("project.callbacks", "project.data", "project.models", "project.nets"),
    *("torch.nn", "torch.optim"),
    *(f"lightning.pytorch.{part}" for part in ("accelerators", "callbacks", "loggers", "plugins", "profilers")),
    *("lightning.pytorch.strategies", "lightning.pytorch.cli.ReduceLROnPlateau"),
    # lightning.pytorch re-exports classes of these modules.
    *(f"lightning.fabric.{part}" for part in ("accelerators", "plugins", "strategies")),
)
_granted: set[str] = set()


def with_trust(args: Sequence[str]) -> list[str]:
    """Trust the modules of all `--trust MODULE` flags, and return the other arguments.

    A configuration file cannot grant trust, because its parser does not know the flag.

    Raises:
        UserError: If a module does not exist.
    """
    scan = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    scan.add_argument("--trust", action="append", default=[])
    try:
        given, others = scan.parse_known_args(args)
    except argparse.ArgumentError as error:
        raise UserError("--trust: expected the name of a module") from error
    allow_imports(given.trust)
    return others


def allow_imports(trusted: Sequence[str] = ()) -> None:
    """Restrict imports by configurations to the known and the trusted modules, from now on.

    Trusted modules are imported, so that flags accept the short names of their classes. They may be in the working
    folder, which Python searches last.

    Raises:
        UserError: If a trusted module does not exist.
    """
    revoked = _granted - set(trusted)
    still = [name for name in revoked if within(name, (*KNOWN_MODULES, *trusted))]
    sys.path.append(folder := str(Path.cwd()))
    try:
        set_parsing_settings(
            import_path_denylist=["*", *revoked],
            import_path_allowlist=[*KNOWN_MODULES, *trusted, *still],
            instantiate_subclass_spec_in_any=False,  # a dict in an argument of type Any stays a dict
            config_read_mode_urls_enabled=False,  # Lightning enables this, so a file could download another one
            config_read_mode_fsspec_enabled=False,
        )
        _granted.clear()
        _granted.update(trusted)
        for name in trusted:
            importlib.import_module(name)
    except (ValueError, ModuleNotFoundError) as error:
        raise UserError(
            f"--trust {' '.join(trusted)}: {error}; pass modules in the working folder or on PYTHONPATH"
        ) from error
    finally:
        del sys.path[len(sys.path) - 1 - sys.path[::-1].index(folder)]


def granted() -> list[str]:
    """Return the currently trusted modules, without the known ones."""
    return sorted(_granted)


def within(path: str, modules: Sequence[str]) -> bool:
    """Whether an import path is one of the modules or in one of them."""
    return any(path == module or path.startswith(module + ".") for module in modules)


def require_known(config: Namespace) -> None:
    """Check that every `class_path` is a class, and that all classes and functions are in known or trusted modules.

    jsonargparse accepts a function that returns instances of a class in place of the class, and would call it with
    arguments from the file.

    Raises:
        UserError: If there is anything else. The error names the flag.
    """
    for key, value in _leaves(config.clone(with_meta=False).as_dict(), ""):
        flag = "--" + re.sub(r"\.?(init_args\.|class_path$)", ".", key).strip(".").replace("..", ".")
        if key.rpartition(".")[2] == "class_path" and isinstance(value, str):
            if not within(value, KNOWN_MODULES + tuple(_granted)):
                raise untrusted(flag, value)
            if not within(value, tuple(_granted)) and not isinstance(pkgutil.resolve_name(value), type):
                raise UserError(f"{flag}: {value} is not a class")
        elif callable(value) and not isinstance(value, type):
            module, name = getattr(value, "__module__", None) or "", getattr(value, "__qualname__", "")
            if not within(module, tuple(_granted)) and ("." in name or not within(module, KNOWN_MODULES)):
                raise untrusted(flag, f"{module}.{name}")


def untrusted(flag: str, path: str) -> UserError:
    """Return the error about an import path that is not allowed."""
    module = path.split(".")[0]
    if module in sys.stdlib_module_names or module in ("", "project", "torch", "lightning", "jsonargparse"):
        return UserError(f"{flag}: {path}: importing it from a configuration is not allowed")
    return UserError(f"{flag}: {path} is not in a trusted module; pass --trust {module} to allow it")


def _leaves(value: Any, key: str) -> Iterator[tuple[str, Any]]:
    """Yield the dotted keys and the values of nested dicts and lists."""
    if isinstance(value, Mapping):
        for name, part in value.items():
            yield from _leaves(part, f"{key}.{name}" if key else str(name))
    elif isinstance(value, list | tuple):
        for part in value:
            yield from _leaves(part, key)
    else:
        yield key, value
