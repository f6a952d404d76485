"""Hostile checkpoints: genuine ones with manipulated contents, and pickles that run a command when loaded."""

import os
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch

from project.runs.checkpoint_io import seal


class Reduced:
    """An object whose unpickling calls a function with arguments chosen by the file."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> Any:
        return self.call


def bombs(marker: Path) -> dict[str, Any]:
    """Return objects whose unpickling would create the marker file."""
    command, code = f"touch {marker}", f"open({str(marker)!r}, 'w')"
    torch.save(Reduced(os.system, command), inner := marker.with_name("inner.pt"))
    return {
        "system": Reduced(os.system, command),
        "eval": Reduced(eval, code),
        "nested": {"state_dict": [Reduced(getattr, Reduced(__import__, "os"), "system"), Reduced(exec, code)]},
        "import": Reduced(__import__, "planted"),
        "torch_load": Reduced(partial(torch.load, weights_only=False), str(inner)),
        "hub": Reduced(torch.hub.load, str(marker.parent), "entry"),
        "compile": Reduced(torch.jit.load, str(inner)),
    }


def sealed(path: Path) -> Path:
    """Add the checksum that this project writes to a zip file, as an attacker could."""
    with zipfile.ZipFile(path, "a") as archive:
        archive.comment = b""
    seal(path)
    return path


def save(checkpoint: Any, path: Path | str) -> None:
    """Save a checkpoint with torch, and add the checksum."""
    torch.save(checkpoint, path)
    seal(Path(path))


def rewritten(source: Path, target: Path, change: Callable[[str, bytes], bytes], compression: int = 0) -> Path:
    """Copy a zip file and change its entries."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w", compression) as new:
        for entry in old.infolist():
            new.writestr(entry.filename, change(entry.filename, old.read(entry)))
    return target


def with_entry(source: Path, target: Path, name: str) -> Path:
    """Copy a zip file and add an entry."""
    target.write_bytes(source.read_bytes())
    with zipfile.ZipFile(target, "a") as archive:
        archive.writestr(name, b"x")
    return target


def shared_lists(levels: int) -> list[Any]:
    """Return nested lists whose short pickle expands to 2**levels values."""
    value: list[Any] = [1]
    for _ in range(levels):
        value = [value, value]
    return value
