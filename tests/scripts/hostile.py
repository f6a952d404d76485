"""Hostile files: checkpoints with manipulated contents, pickles that run a command when loaded, and configurations."""

import os
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from project.inference.evaluate import evaluate
from project.inference.predict import predict
from project.runs.checkpoint_io import seal
from project.runtime.errors import UserError
from project.training.train import train

SHORT = ["--epoch_line.every_n_epochs", "0", "--trainer.max_epochs", "1"]
LAUGHS = "a: &a [x, x]\n" + "".join(
    f"{chr(98 + i)}: &{chr(98 + i)} [*{chr(97 + i)}, *{chr(97 + i)}]\n" for i in range(24)
)
MERGES = "a: &a {k: 1}\n" + "".join(
    f"{chr(98 + i)}: &{chr(98 + i)} {{<<: [*{chr(97 + i)}, *{chr(97 + i)}]}}\n" for i in range(24)
)
YAMLS = {
    "tag": ("model: !!python/object/apply:os.system ['touch marker']\n", "could not determine a constructor"),
    "tag of a class": ("!!python/object/new:subprocess.Popen [['touch', 'marker']]\n", "could not determine"),
    "tag of a module": ("trainer: !!python/module:planted\n", "could not determine"),
    "laughs": (LAUGHS, "expands to more than"),
    "merges": (MERGES, "expands to more than"),
    "cycle": ("model: &a [*a]\n", "alias *a has no anchor before it"),
    "deep": ("model: " + "[" * 200_000, "nest"),
    "deep blocks": ("".join(" " * i + "a:\n" for i in range(200)), "nested deeper"),
    "digits": ("trainer: {max_epochs: " + "1" * 100_000 + "}\n", "limit"),
    "date": ("model: 2001-99-99\n", "month must be in 1..12"),
    "nul": ("model: \0\n", "control characters"),
    "text": ("secret\nand more\n", "no settings in it"),
    "trust": ("trust: [planted]\nmodel: {class_path: planted.Net}\n", "'trust' is not accepted"),
    "numbers as keys": ("1: 2\n", "Key must be a string"),
}


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


def refused(reference: Path | str, message: str = "") -> None:
    """Check that every command that reads a checkpoint refuses it with one short line."""
    Path("rows.csv").write_text("x\n1\n2\n")
    for command in (
        lambda: evaluate(str(reference)),
        lambda: predict(str(reference), Path("rows.csv"), Path("out.csv")),
        lambda: train(["--ckpt_path", str(reference), "--trainer.max_epochs", "200"]),
    ):
        with pytest.raises(UserError) as caught:
            command()
        assert message in str(caught.value)
        assert len(str(caught.value)) < 1_000
    assert not Path("out.csv").exists()


def hostile_config(section: str, path: str, marker: Path) -> str:
    """Return a configuration with a class path in a section."""
    value = {"class_path": path, "init_args": {"command": f"touch {marker}"}}
    *outer, last = section.split(".")
    if last == "0":
        return yaml.safe_dump({outer[0]: {outer[1]: [value]}})
    if section == "trainer.callbacks.on_fit_start":
        owner = "lightning.pytorch.callbacks.LambdaCallback"
        return yaml.safe_dump({"trainer": {"callbacks": {"class_path": owner, "init_args": {last: path}}}})
    if outer == ["model"]:
        return yaml.safe_dump({"model": {"class_path": "project.models.Regression", "init_args": {last: value}}})
    return yaml.safe_dump({outer[0]: {last: value}} if outer else {last: value})
