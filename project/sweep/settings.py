"""What a sweep is a search of: agreed on before its first trial, and the same for all of them."""

import contextlib
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from project.config.yaml import flatten
from project.runtime.errors import UserError
from project.runtime.signals import Stopped
from project.stages.base import parse, require_run
from project.sweep.ranges import as_words, read_range
from project.training.cli import ExperimentCLI
from project.training.train import fit

Settings = dict[str, Any]
DEFAULTS = {"metric": "val/loss", "direction": None, "pruner": "median", "seed": 0}
LOWER, HIGHER = ("loss", "mse", "rmse", "mae"), ("accuracy", "f1", "r2")
DIRECTIONS = dict.fromkeys(LOWER, "minimize") | dict.fromkeys(HIGHER, "maximize")


def agree(folder: Path | None, stored: Settings, given: Mapping[str, Any]) -> Settings:
    """What was given, on top of what a sweep was begun with.

    Args:
        folder: Of the sweep.
        stored: Its settings; empty for a new one.
        given: `search` (ranges by flag), `args` (other flags of scripts/train.py), `trust` (flags that grant it, which
            nothing stored does), and `metric`, `direction`, `pruner` and `seed`, None where they are as before.

    Raises:
        UserError: If they contradict each other, or there is nothing to search.
    """
    anew = bool(given["search"] or given["args"] or not stored)
    search, args = (given["search"], given["args"]) if anew else (stored["search"], stored["args"])
    if not search:
        raise UserError('nothing to search: give flags with ranges, as in --search.optimizer.lr "log(1e-4, 1)"')
    for flag in [arg.split("=")[0].removeprefix("--") for arg in args]:
        if flag in search:
            raise UserError(f"--{flag}: it is searched: leave it out")
    for flag in ("ckpt_path", "trust"):
        if any(arg.split("=")[0] == f"--{flag}" for arg in [*args, *as_words(search)]):
            raise UserError(f"--{flag}: {'trials begin anew' if flag == 'ckpt_path' else 'no study grants it'}")
    chosen = {name: given[name] for name in DEFAULTS if given[name] is not None} | {"trust": given["trust"]}
    config = parse([*args, *given["trust"]])
    settings = DEFAULTS | stored | chosen | {"search": search, "args": args, "config": config}
    if stored:
        refuse_changes(folder, stored, settings)
    return settings


def refuse_changes(folder: Path | None, before: Settings, now: Settings) -> None:
    """Raise a UserError where trials would not compare with those of before."""
    was, given = _flat(before), _flat(now)
    for name in [*was, *given]:
        if was.get(name) != given.get(name):
            raise UserError(
                f"--{name}: {folder} was begun with {was.get(name, 'nothing')}, "
                f"and {given.get(name, 'nothing')} was given: "
                "leave it as it was, or give another --folder"
            )


def _flat(settings: Settings) -> dict[str, Any]:
    ranges = {f"search.{flag}": text for flag, text in settings["search"].items()}
    return {name: settings[name] for name in DEFAULTS} | ranges | flatten(settings["config"])


def check(settings: Settings) -> Settings:
    """Parse every bound and choice, and train one batch; return the settings with the direction of the metric.

    Raises:
        UserError: If a flag is unknown or does not take a value of its range, or there is no such metric.
    """
    args = [*settings["args"], *settings["trust"]]
    options = {flag: read_range(flag, text)[1] for flag, text in settings["search"].items()}
    first = {flag: values[0] for flag, values in options.items()}
    for flag, values in options.items():
        for value in values:
            require_run(parse([*args, *as_words(first | {flag: value})])["trainer"])
    logged = logged_metrics([*args, *as_words(first)])
    metric = settings["metric"]
    if metric not in logged:
        raise UserError(f"--metric {metric}: no such metric of a validation: give one of {', '.join(logged)}")
    known, direction = DIRECTIONS.get(metric.removeprefix("val/")), settings["direction"]
    if known is None and direction is None:
        raise UserError(f"--metric {metric}: give --direction minimize or maximize with it")
    if known and direction not in (None, known):
        raise UserError(f"--direction {direction}: of {metric}, the best is what is to {known}: leave it out")
    return settings | {"direction": direction or known}


def logged_metrics(args: Sequence[str]) -> list[str]:
    """The metrics of a validation, found out by a training of one batch, which shows other mistakes as well."""
    with contextlib.redirect_stdout(io.StringIO()):
        cli = ExperimentCLI([*args, "--trainer.fast_dev_run=1"])
        if cli.trainer.world_size > 1:
            raise UserError("a trial is trained by one process: give --trainer.devices 1, and --processes for several")
        try:
            fit(cli)
        except Stopped as stop:
            raise SystemExit(128 + stop.signum) from None
        return list(cli.trainer.validate(cli.model, cli.datamodule, verbose=False)[0])
