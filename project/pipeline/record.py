"""A pipeline on disk: its plan, and the results of the stages that have run."""

import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import yaml
from filelock import FileLock, Timeout

from project.config.changes import refuse_changes
from project.config.plain_data import flatten
from project.pipeline.pipeline import EXPERIMENT, Plan, StageResult
from project.runtime.address import remove_credentials
from project.runtime.errors import UserError
from project.runtime.files import atomic_write, check_folder

STATE, LOCK = "state.json", ".lock"


def read_record(folder: Path) -> tuple[Plan, list[StageResult]] | None:
    """Read the plan and the results in a folder; None if it contains no pipeline."""
    try:
        text, config = ((folder / name).read_text(encoding="utf-8") for name in (STATE, EXPERIMENT))
    except (FileNotFoundError, NotADirectoryError):
        return None
    try:
        state = json.loads(text)
        plan = Plan(state["stages"], state["flags"], yaml.safe_load(config))
        return plan, [StageResult(**result) for result in state["results"]]
    except (ValueError, KeyError, TypeError, yaml.YAMLError) as error:
        raise UserError(f"{folder / STATE}: damaged ({error}); start a pipeline in another --folder") from error


def write_record(folder: Path, plan: Plan, results: list[StageResult]) -> None:
    """Write the plan and the results of a pipeline."""
    if not (folder / EXPERIMENT).exists():
        with atomic_write(folder / EXPERIMENT) as path:
            path.write_text(yaml.safe_dump(plan.config, sort_keys=False), encoding="utf-8")
    state = {
        "stages": plan.stages,
        "flags": remove_credentials(plan.flags),
        "results": [asdict(result) for result in results],
    }
    with atomic_write(folder / STATE) as path:
        path.write_text(json.dumps(state, indent=2) + "\n", encoding="utf-8")


@contextmanager
def open_record(folder: Path, plan: Plan | None) -> Iterator[tuple[Plan, list[StageResult]]]:
    """Open the pipeline of a folder, or start a new one, and lock the folder meanwhile.

    Without a plan, the pipeline continues with its own.

    Raises:
        UserError: If the new plan changes stages that have run, the folder is locked or contains something else, or
            there is neither a pipeline nor a plan.
    """
    check_folder(folder, "a life cycle", STATE, EXPERIMENT)
    if plan is None and read_record(folder) is None:
        raise UserError(f"{folder}: contains no life cycle; pass --config or other flags to start one")
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / LOCK, timeout=0)
    try:
        lock.acquire()
    except Timeout:
        raise UserError(f"{folder}: locked by another process; wait until it ends, or stop it") from None
    try:
        yield _resume(folder, plan)
    finally:
        lock.release()
        own = {folder / name for name in (STATE, EXPERIMENT, LOCK)}
        if own >= set(folder.iterdir()):  # no stage has written anything
            for path in own:
                path.unlink(missing_ok=True)
            folder.rmdir()


def _resume(folder: Path, plan: Plan | None) -> tuple[Plan, list[StageResult]]:
    """Return the plan and the results to continue with, after writing a plan that is new."""
    found = read_record(folder)
    if plan is None:
        assert found is not None
        return found
    before, results = found or (plan, [])
    refuse_changes(folder, finished_settings(before, len(results)), finished_settings(plan, len(results)))
    if _next_stage(before, results) != _next_stage(plan, results):  # its files are those of other flags
        for path in folder.glob(f"{len(results) + 1}_*"):
            shutil.rmtree(path)
    write_record(folder, plan, results)
    return plan, results


def finished_settings(plan: Plan, finished: int) -> Mapping[str, Any]:
    """Return the settings that must not change after a number of stages have run, by flag."""
    kept = remove_credentials(plan.flags)
    flags = {stage: " ".join(map(" ".join, sorted(kept.get(stage, [])))) for stage in plan.stages[:finished]}
    stages = {"stages": ",".join(plan.stages[:finished])}
    return stages | {stage: text for stage, text in flags.items() if text} | flatten(plan.config)


def _next_stage(plan: Plan, results: list[StageResult]) -> tuple[str, list[str]] | None:
    """The stage to run next, with its flags."""
    return (stage := plan.stages[len(results)], plan.args(stage)) if len(results) < len(plan.stages) else None
