"""The settings of a sweep, which are checked before the first trial and are the same for all trials."""

import contextlib
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from project.config.changes import refuse_changes
from project.config.plain_data import flatten
from project.runtime.errors import UserError
from project.runtime.signals import Stopped
from project.stages.base import NO_NAME, parse, require_run
from project.sweep.ranges import as_args, read_range
from project.training.cli import ExperimentCLI
from project.training.train import fit

Settings = dict[str, Any]
DEFAULTS = {"metric": "val/loss", "direction": None, "pruner": "median", "seed": 0}
LOWER, HIGHER = ("loss", "mse", "rmse", "mae"), ("accuracy", "f1", "r2")
DIRECTIONS = dict.fromkeys(LOWER, "minimize") | dict.fromkeys(HIGHER, "maximize")
NOT_IN_TRIALS = {
    "ckpt_path": "trials start from new weights; remove it",
    **NO_NAME,
    "trust": "a stored study cannot grant trust; pass it on the command line",
}


def merge_settings(folder: Path | None, stored: Settings, given: Mapping[str, Any]) -> Settings:
    """Return the settings of a sweep: those that it was started with, extended by those of the command line.

    Args:
        folder: Folder of the sweep.
        stored: Settings that the sweep was started with; empty for a new sweep.
        given: `search` (ranges by flag), `args` (other flags of scripts/train.py), `trust` (flags that grant trust,
            which are never stored), and `metric`, `direction`, `pruner` and `seed`, None to keep the stored value.

    Raises:
        UserError: If a setting differs from the stored one, a flag is not allowed, or there is nothing to search.
    """
    has_own = bool(given["search"] or given["args"] or not stored)
    search, args = (given["search"], given["args"]) if has_own else (stored["search"], stored["args"])
    if not search:
        raise UserError('--search: no range to search; pass one, as in --search.optimizer.lr "log(1e-4, 1)"')
    refused = dict.fromkeys(search, "it is searched; remove it") | NOT_IN_TRIALS
    for flag in [*(arg.split("=")[0].removeprefix("--") for arg in args), *(search.keys() & NOT_IN_TRIALS)]:
        if flag in refused:
            raise UserError(f"--{flag}: {refused[flag]}")
    chosen = {name: given[name] for name in DEFAULTS if given[name] is not None} | {"trust": given["trust"]}
    config = parse([*args, *given["trust"]])
    settings = DEFAULTS | stored | chosen | {"search": search, "args": args, "config": config}
    if folder is not None and stored:
        refuse_changes(folder, comparable(stored), comparable(settings))
    return settings


def comparable(settings: Settings) -> dict[str, Any]:
    """Return the settings, by flag, that all trials must share so that their results are comparable."""
    ranges = {f"search.{flag}": text for flag, text in settings["search"].items()}
    return {name: settings[name] for name in DEFAULTS} | ranges | flatten(settings["config"])


def check_settings(settings: Settings) -> Settings:
    """Parse every bound and choice, and train on one batch; return the settings with the direction of the metric.

    Raises:
        UserError: If a flag is unknown or does not accept a value of its range, or validation logs no such metric.
    """
    args = [*settings["args"], *settings["trust"]]
    options = {flag: read_range(flag, text)[1] for flag, text in settings["search"].items()}
    first = {flag: values[0] for flag, values in options.items()}
    for flag, values in options.items():
        for value in values:
            require_run(parse([*args, *as_args(first | {flag: value})])["trainer"])
    logged = [name for name in logged_metrics([*args, *as_args(first)]) if name != "step"]
    metric = settings["metric"]
    if metric not in logged:
        raise UserError(f"--metric: validation logs no {metric!r}; use one of {', '.join(logged)}")
    known = DIRECTIONS.get(metric.removeprefix("val/"))
    allowed, direction = [known] if known else ["minimize", "maximize"], settings["direction"] or known
    if direction not in allowed:
        raise UserError(f"--direction: must be {' or '.join(allowed)} with --metric {metric}, got {direction}")
    return settings | {"direction": direction}


def logged_metrics(args: Sequence[str]) -> list[str]:
    """Return the names of the validation metrics, after training on one batch, which also reveals other mistakes."""
    with contextlib.redirect_stdout(io.StringIO()):
        cli = ExperimentCLI([*args, "--trainer.fast_dev_run=1"])
        if cli.trainer.world_size > 1:
            raise UserError(
                "--trainer.devices: must be 1 in a sweep; use --processes to train several trials at a time"
            )
        try:
            fit(cli)
        except Stopped as stop:
            raise SystemExit(128 + stop.signum) from None
        return list(cli.trainer.validate(cli.model, cli.datamodule, verbose=False)[0])
