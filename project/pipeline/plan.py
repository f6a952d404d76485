"""What a chain is to be: which stages in which order, on what experiment, with which flags of their own."""

import argparse
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from project.config.flag_errors import refuse_flags
from project.config.yaml import flatten, yaml_of
from project.export.formats import require_onnx
from project.export.quantize import require_precision
from project.runtime.errors import UserError
from project.serving.server import require_counts, require_packages
from project.stages.base import NO_RESUME, Config, parse, require_run
from project.stages.distill import DISTILLED, NO_TEACHER, require_teacher
from project.stages.ensemble import require_several
from project.stages.prune import require_one_part

SECTION = "lifecycle"
STAGES = ("train", "ensemble", "distill", "prune", "export", "quantize", "serve", "evaluate")
TRAININGS = ("train", "ensemble", "distill", "prune")
MEMBERS, STRUCTURED = 3, 0.5  # unless given
PARTS = {"--structured", "--sparsity"}
# Flags of a stage's own script; all others are those of train.py.
STAGE_OPTIONS: dict[str, dict[str, Any]] = {
    "ensemble": {"members": int, "bootstrap": yaml.safe_load},
    "prune": {"structured": float, "sparsity": float},
    "quantize": {"dtype": str, "method": str},
    "serve": {"threads": int},
}
CHECKS: dict[str, Callable[[dict[str, Any]], None]] = {
    "ensemble": lambda own: require_several(own["members"]),
    "prune": lambda own: require_one_part(own.get("sparsity"), own.get("structured")),
    "quantize": lambda own: require_precision(own.get("dtype", "int8"), own.get("method")),
    "serve": lambda own: require_counts(**own),
}
EXPERIMENT = "experiment.yaml"


class Plan(NamedTuple):
    """What a chain is to be.

    Attributes:
        stages: Names, in order; the last one is `evaluate`.
        flags: Of each stage, as args.
        config: The complete settings of the experiment.
    """

    stages: list[str]
    flags: dict[str, list[str]]
    config: Config


def make_plan(stages: str | None, args: Sequence[str], trust: Sequence[str] = (), before: Plan | None = None) -> Plan:
    """What a command line asks for.

    Args:
        stages: Names with commas between them; those of the experiment, or all, unless given.
        args: Flags of scripts/train.py, and those of stages.
        trust: Flags that let configurations name a module's classes.
        before: What the chain was begun as, to which flags of stages alone are added.

    Raises:
        UserError: If a stage or a flag is unknown, a flag is of a stage that is not there, a stage has nothing to begin
            with, or the experiment is one that a chain cannot train.
    """
    section = yaml_of(args).get(SECTION) or {}
    if not isinstance(section, dict):
        raise UserError(f"{SECTION}: {section!r}: give a section with `stages` and the flags of each")
    given, others = split_words(args)
    for name in section.keys() - {"stages", *STAGES}:
        raise UserError(f"{SECTION}: no stage {name!r}: give some of {', '.join(STAGES)}")
    if before is not None and not others:
        flags, config = before.flags, before.config
    else:
        flags, config = {name: words_of(section.get(name)) for name in STAGES}, parse([*others, *trust])
        config["trainer"]["devices"] = check_trainer(config["trainer"])
    names = stage_names(stages or section.get("stages") or (before.stages if before else list(STAGES)))
    for name in given.keys() - names:
        if given[name]:
            raise UserError(f"--{name}.{given[name][0].lstrip('-')}: {name} is not among the stages: {','.join(names)}")
    plan = Plan(names, {name: replaced(flags.get(name, []), given[name]) for name in STAGES}, config)
    check(plan, trust)
    return plan


def replaced(args: Sequence[str], by: Sequence[str]) -> list[str]:
    """Flags with others in their place, and in that of their arguments; fewer units and zeros exclude one another."""
    names = {arg.split("=")[0] for arg in by if arg.startswith("--")}
    names |= PARTS if names & PARTS else set()
    kept = [flag for flag in flags_of(args) if not any(flag[0] == n or flag[0].startswith(f"{n}.") for n in names)]
    return [arg for name, *values in kept for arg in (name, *values)] + list(by)


def flags_of(args: Sequence[str]) -> list[list[str]]:
    """Each flag with its values."""
    flags: list[list[str]] = []
    for arg in args:
        name, *value = arg.split("=", 1) if arg.startswith("--") else [arg]
        if arg.startswith("--"):
            flags.append([name, *value])
        elif flags:
            flags[-1].append(arg)
    return flags


def stage_names(given: Any) -> list[str]:
    """Names of stages from a list, or from a text with commas between them; the last one is `evaluate`."""
    names = [name.strip() for name in given.split(",")] if isinstance(given, str) else given
    if not (isinstance(names, list) and names and all(isinstance(name, str) for name in names)):
        raise UserError(f"{SECTION}.stages: {given!r}: give a list of stages, as in [train, prune]")
    if "evaluate" in names[:-1]:
        raise UserError("--stages: evaluate tests what all others have left: put it last")
    return [name for name in names if name != "evaluate"] + ["evaluate"]


def split_words(args: Sequence[str]) -> tuple[dict[str, list[str]], list[str]]:
    """Flags of each stage (`--prune.structured 0.5`, without the stage's name), and all other args."""
    of_stages: dict[str, list[str]] = {name: [] for name in STAGES}
    others: list[str] = []
    place = others
    for arg in args:
        if arg.startswith("--"):
            stage, _, rest = arg[2:].partition(".")
            place = of_stages[stage] if rest and stage in of_stages else others
            arg = f"--{rest}" if place is not others else arg
        place.append(arg)
    return of_stages, others


def words_of(section: Any, prefix: str = "") -> list[str]:
    """A section of a YAML file as flags: `{trainer: {max_epochs: 3}}` or `{trainer.max_epochs: 3}`."""
    if section is None:
        return []
    if not isinstance(section, Mapping):
        raise UserError(f"{SECTION}: {section!r}: give flags and their values, as in `prune: {{structured: 0.25}}`")
    args: list[str] = []
    for name, value in section.items():
        if isinstance(value, Mapping) and "class_path" not in value:
            args += words_of(value, f"{prefix}{name}.")
        else:
            args += [f"--{prefix}{name}", value if isinstance(value, str) else json.dumps(value)]
    return args


def own_flags(stage: str, args: Sequence[str]) -> tuple[dict[str, Any], list[str]]:
    """Those flags of a stage that are of its own script, by name, and the args that are left."""
    scan = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    for name, kind in STAGE_OPTIONS.get(stage, {}).items():
        scan.add_argument(f"--{name}", type=kind)
    try:
        given, others = scan.parse_known_args(args)
    except argparse.ArgumentError as error:
        raise UserError(f"--{stage}.{(error.argument_name or '').lstrip('-')}: {error.message}") from error
    found = {name: value for name, value in vars(given).items() if value is not None}
    if stage == "ensemble":
        found.setdefault("members", MEMBERS)
    elif stage == "prune" and not found:
        found["structured"] = STRUCTURED
    if others and stage not in TRAININGS:
        raise UserError(f"--{stage}.{others[0].lstrip('-')}: no such flag of {stage}: leave it out")
    return found, others


def check_trainer(trainer: Mapping[str, Any]) -> int:
    """The number of devices that a chain trains on: 1; a UserError where the Trainer is to leave no run."""
    require_run(trainer)
    if trainer["devices"] not in ("auto", 1, "1") or trainer["num_nodes"] > 1:
        raise UserError("--trainer.devices: a life cycle is trained by one process: give 1")
    return 1


def check(plan: Plan, trust: Sequence[str] = ()) -> None:
    """Raise a UserError where stages cannot follow one another, a flag of one is none, or a package is not there."""
    require_onnx()  # by which all are measured
    if "serve" in plan.stages:
        require_packages()
    has_run = False
    for stage in plan.stages:
        if stage not in STAGES:
            raise UserError(f"--stages: no stage {stage!r}: give some of {','.join(STAGES)}")
        if not has_run and stage not in ("train", "ensemble"):
            raise UserError(f"--stages: {stage} needs a run to begin with: put train or ensemble before it")
        has_run = True
        own, args = own_flags(stage, plan.flags[stage])
        try:
            CHECKS.get(stage, lambda own: None)(own)
        except UserError as error:
            raise UserError(f"{stage}: {error}") from error
        if stage in TRAININGS:
            config = dict(plan.config)
            if stage == "distill":
                model = config["model"]
                path = DISTILLED.get(model["class_path"], model["class_path"])
                if path not in DISTILLED.values():  # what solves is teacher_outputs as a linear net
                    model = {"init_args": {}}
                    path = DISTILLED["project.models.Regression"]
                config["model"] = {"class_path": path, "init_args": model["init_args"] | {"teacher": ""}}
            try:
                refuse_flags(args, NO_TEACHER if stage == "distill" else NO_RESUME)
                parsed = parse(["--config", yaml.safe_dump(config), *args, *trust])
                if stage == "distill":
                    require_teacher(parsed)
            except UserError as error:
                raise UserError(f"{stage}: {error}") from error


def refuse_changes(folder: Path, before: Plan, now: Plan, done: int) -> None:
    """Raise a UserError where the experiment, or a stage that is done, is another one: what differs is named."""
    was, given = _flat(before, done), _flat(now, done)
    for name in [*was, *given]:
        if was.get(name) != given.get(name):
            raise UserError(
                f"--{name}: {folder} was begun with {was.get(name, 'nothing')}, and {given.get(name, 'nothing')} was "
                "given: leave it as it was, or give another --folder"
            )


def _flat(plan: Plan, done: int) -> dict[str, Any]:
    flags = {stage: " ".join(map(" ".join, sorted(flags_of(plan.flags[stage])))) for stage in plan.stages[:done]}
    return {"stages": ",".join(plan.stages[:done])} | {k: v for k, v in flags.items() if v} | flatten(plan.config)
