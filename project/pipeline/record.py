"""A chain on disk: what it is to be, and which of its stages are done."""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import NamedTuple

import yaml
from filelock import FileLock, Timeout

from project.export.export import export
from project.pipeline.plan import EXPERIMENT, Plan, refuse_changes
from project.runtime.errors import UserError
from project.runtime.files import atomic_write, check_folder

STATE, LOCK, ONNX = "state.json", ".lock", "model.onnx"


@dataclass
class StageResult:
    """A stage that has ended.

    Attributes:
        stage: Its kind, one of `STAGES`.
        name: Number and kind, which is also its folder's name.
        command: What does the same by itself.
        source: Name of the stage whose model it took.
        model: The run or the artifact that it left, within the chain's folder; empty of none.
        finding: Why it could not do anything; empty where it did.
        seconds: How long it took.
        figures: What else it measured.
    """

    stage: str
    name: str
    command: str = ""
    source: str = ""
    model: str = ""
    finding: str = ""
    seconds: float = 0.0
    figures: dict[str, float] = field(default_factory=dict)


class Pipeline(NamedTuple):
    """A chain that is under way.

    Attributes:
        folder: Where it lies.
        plan: What it is to be.
        done: Its stages so far.
        trust: Flags that let configurations name a module's classes.
    """

    folder: Path
    plan: Plan
    done: list[StageResult]
    trust: list[str]

    def newest(self, *kinds: str) -> StageResult | None:
        """The last stage of some kinds that left a model."""
        return next((done for done in reversed(self.done) if done.stage in kinds and done.model), None)

    def run(self) -> StageResult:
        """The run that is to be made smaller and to be served; an ensemble only where there is nothing else."""
        found = self.newest("train", "distill", "prune") or self.newest("ensemble")
        assert found is not None
        return found

    def last(self) -> StageResult:
        """What all stages so far have led to: an artifact, or a run."""
        found = self.newest("train", "distill", "prune", "quantize") or self.newest("ensemble")
        assert found is not None
        return found

    def path(self, done: StageResult) -> Path:
        """Where the model of a stage lies."""
        return self.folder / done.model

    def artifact(self, done: StageResult) -> Path:
        """The ONNX file of a stage, which is exported where there is none."""
        path = self.path(done)
        if path.suffix == ".onnx":
            return path
        return path / ONNX if (path / ONNX).exists() else export(str(path), args=self.trust).path


def read_record(folder: Path) -> tuple[Plan, list[StageResult]] | None:
    """What a folder says of its chain; None where there is none."""
    try:
        text, config = ((folder / name).read_text(encoding="utf-8") for name in (STATE, EXPERIMENT))
    except (FileNotFoundError, NotADirectoryError):
        return None
    try:
        state = json.loads(text)
        plan = Plan(state["stages"], state["flags"], yaml.safe_load(config))
        return plan, [StageResult(**done) for done in state["done"]]
    except (ValueError, KeyError, TypeError, yaml.YAMLError) as error:
        raise UserError(f"{folder / STATE}: damaged ({error}): begin another --folder") from error


def write_record(folder: Path, plan: Plan, done: list[StageResult]) -> None:
    """Write it, each file whole."""
    if not (folder / EXPERIMENT).exists():
        with atomic_write(folder / EXPERIMENT) as path:
            path.write_text(yaml.safe_dump(plan.config, sort_keys=False), encoding="utf-8")
    state = {"stages": plan.stages, "flags": plan.flags, "done": [asdict(each) for each in done]}
    with atomic_write(folder / STATE) as path:
        path.write_text(json.dumps(state, indent=2) + "\n", encoding="utf-8")


def _next(plan: Plan, done: list[StageResult]) -> tuple[str, list[str]] | None:
    """The stage that is to be done next, with its flags."""
    return (stage := plan.stages[len(done)], plan.flags[stage]) if len(done) < len(plan.stages) else None


@contextmanager
def opened(folder: Path, plan: Plan | None) -> Iterator[tuple[Plan, list[StageResult]]]:
    """The chain of a folder, which no other process works on meanwhile; a new one where there is none.

    Args:
        folder: Of the chain; made where it is missing.
        plan: What it is to be; None where that is what it was begun as.

    Raises:
        UserError: If what is done is not of that plan, the folder holds something else, another process works on it, or
            there is neither a chain nor a plan.
    """
    check_folder(folder, "a life cycle", STATE, EXPERIMENT)
    if plan is None and read_record(folder) is None:
        raise UserError(f"{folder}: no life cycle was begun there: give --config or other flags to begin one")
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / LOCK, timeout=0)
    try:
        lock.acquire()
    except Timeout:
        raise UserError(f"{folder}: another process works on it: wait for its end, or stop it") from None
    try:
        found = read_record(folder)
        if found is None:
            assert plan is not None
            write_record(folder, plan, [])
            found = plan, []
        elif plan is not None:
            before, done = found
            refuse_changes(folder, before, plan, len(done))
            if _next(before, done) != _next(plan, done):  # what it was begun with is of no use
                for path in folder.glob(f"{len(done) + 1}_*"):
                    shutil.rmtree(path)
            found = plan, done
            write_record(folder, *found)
        yield found
    finally:
        lock.release()
        own = {folder / name for name in (STATE, EXPERIMENT, LOCK)}
        if own >= set(folder.iterdir()):  # nothing has come of it
            for path in own:
                path.unlink(missing_ok=True)
            folder.rmdir()
