"""The plan of a pipeline, from its command line: stages in order, their flags, and the experiment."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from project.config.flag_errors import refuse_flags
from project.config.yaml import yaml_of
from project.exporting.formats import require_onnx
from project.pipeline.pipeline import Plan
from project.pipeline.stages import STAGES
from project.runtime.errors import UserError
from project.serving.server import require_packages
from project.stages.base import NO_NAME, parse, require_run

SECTION = "lifecycle"
# Two ways to prune that exclude each other: the newer flag replaces the older one.
EXCLUSIVE = {"--structured", "--sparsity"}
Flags = list[list[str]]  # each flag with its values


def make_plan(stages: str | None, args: Sequence[str], trust: Sequence[str] = (), before: Plan | None = None) -> Plan:
    """Make the plan of a command line.

    `stages` are by default those of the experiment's YAML file, or all. Flags are added to those of `before`, the plan
    of the pipeline to resume.

    Raises:
        UserError: If a stage or a flag is unknown, a flag belongs to a stage that is left out, a stage has no run to
            start from, or a pipeline cannot train the experiment.
    """
    section = yaml_of(args).get(SECTION) or {}
    if not isinstance(section, dict) or section.keys() - {"stages", *STAGES}:
        unknown = ", ".join(section.keys() - {"stages", *STAGES}) if isinstance(section, dict) else section
        raise UserError(f"{SECTION}: {unknown}: unknown; use `stages`, and flags of {', '.join(STAGES)}")
    own, others = split_args(args)
    refuse_flags(others, NO_NAME)
    if before is not None and not others:
        flags, config = before.flags, before.config
    else:
        flags, config = {name: flags_of(args_of(section.get(name))) for name in STAGES}, parse([*others, *trust])
        check_trainer(config["trainer"])
        config["trainer"]["devices"] = 1
    names = stage_names(stages or section.get("stages") or (before.stages if before else list(STAGES)))
    for name in own.keys() - names:
        if own[name]:
            raise UserError(f"--{name}.{own[name][0][0].lstrip('-')}: no stage {name} in --stages {','.join(names)}")
    plan = Plan(names, {name: merged(flags.get(name, []), own[name]) for name in STAGES}, config)
    check(plan, trust)
    return plan


def split_args(args: Sequence[str]) -> tuple[dict[str, Flags], list[str]]:
    """Separate the flags of stages (`--prune.structured 0.5`; the stage's name is removed) from all other arguments."""
    of_stages: dict[str, list[str]] = {name: [] for name in STAGES}
    others: list[str] = []
    target = others
    for arg in args:
        if arg.startswith("--"):
            stage, _, rest = arg[2:].partition(".")
            target = of_stages[stage] if rest and stage in of_stages else others
            arg = f"--{rest}" if target is not others else arg
        target.append(arg)
    return {name: flags_of(found) for name, found in of_stages.items()}, others


def flags_of(args: Sequence[str]) -> Flags:
    """Group arguments into flags with their values; `--flag=value` is split."""
    flags: Flags = []
    for arg in args:
        if arg.startswith("--"):
            flags.append(arg.split("=", 1))
        elif flags:
            flags[-1].append(arg)
    return flags


def args_of(section: Any, prefix: str = "") -> list[str]:
    """Convert a section of a YAML file, `{trainer: {max_epochs: 3}}` or `{trainer.max_epochs: 3}`, to arguments."""
    if section is None:
        return []
    if not isinstance(section, Mapping):
        raise UserError(f"{SECTION}: {section!r}: must be flags with values, such as `prune: {{structured: 0.25}}`")
    args: list[str] = []
    for name, value in section.items():
        if isinstance(value, Mapping) and "class_path" not in value:
            args += args_of(value, f"{prefix}{name}.")
        else:
            args += [f"--{prefix}{name}", value if isinstance(value, str) else json.dumps(value)]
    return args


def merged(flags: Flags, newer: Flags) -> Flags:
    """Return flags in which newer ones replace those of the same name, and the arguments of a replaced class."""
    names = {flag[0] for flag in newer}
    names |= EXCLUSIVE if names & EXCLUSIVE else set()
    kept = [flag for flag in flags if not any(flag[0] == name or flag[0].startswith(f"{name}.") for name in names)]
    return kept + newer


def stage_names(stages: Any) -> list[str]:
    """Return the names of stages in a list or a comma-separated text, with `evaluate` as the last one."""
    names = [name.strip() for name in stages.split(",")] if isinstance(stages, str) else stages
    *_, last = STAGES
    problem = ""
    if not (isinstance(names, list) and names and all(isinstance(name, str) for name in names)):
        problem = f"{SECTION}.stages: {stages!r}: must be a list of stages, such as [train, prune]"
    elif unknown := [name for name in names if name not in STAGES]:
        problem = f"--stages: unknown stage '{unknown[0]}'; choose from {','.join(STAGES)}"
    elif last in names[:-1]:
        problem = f"--stages: {last} compares the models of all other stages; put it last"
    elif STAGES[names[0]].needs_run:
        problem = f"--stages: {names[0]} needs a run; put train or ensemble before it"
    if problem:
        raise UserError(problem)
    return [name for name in names if name != last] + [last]


def check_trainer(trainer: Mapping[str, Any]) -> None:
    """Raise a UserError if a pipeline cannot train with these settings of the Trainer."""
    require_run(trainer)
    if trainer["devices"] not in ("auto", 1, "1") or trainer["num_nodes"] > 1:
        raise UserError("--trainer.devices: a life cycle trains in one process; set it to 1")


def check(plan: Plan, trust: Sequence[str] = ()) -> None:
    """Raise a UserError if a flag is wrong, or a package is missing."""
    require_onnx()  # all models are measured as ONNX files
    if "serve" in plan.stages:
        require_packages()
    for name in plan.stages:
        stage = STAGES[name]
        options, flags = stage.parse(plan.args(name))
        try:
            stage.check(plan.config, options, [*flags, *trust])
        except UserError as error:
            raise UserError(f"{name}: {error}") from error
