"""Resuming a run: the checkpoint, and checks of changed settings and data."""

import os
from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NamedTuple

from jsonargparse import Namespace

from project.config.plain_data import flatten
from project.config.yaml import run_settings, with_full_paths
from project.runs.checkpoint import data_facts
from project.runs.folder import LAST, find_checkpoint, is_finished, run_of
from project.runtime.errors import UserError

DATA_FACTS = ("row_counts", "in_shape", "feature_names", "target_names", "class_names", "feature_means", "fingerprint")


class ResumePoint(NamedTuple):
    """The point at which training continues; by default the start of a new run.

    Attributes:
        checkpoint: The checkpoint of a resumed run.
        epochs: Number of complete epochs.
        steps: Number of optimizer steps.
        is_finished: Whether training is complete, and only the test and the report are missing.
        optimizer_changes: Arguments of the optimizer that differ from the checkpoint's, with their new values.
    """

    checkpoint: Path | None = None
    epochs: int = 0
    steps: int = 0
    is_finished: bool = False
    optimizer_changes: Mapping[str, Any] = {}


def resume_point(path: Path, checkpoint: Mapping[str, Any], saved: Namespace, config: Namespace) -> ResumePoint:
    """Return the point at which a run is resumed.

    Args:
        path: File of the checkpoint.
        checkpoint: Its content.
        saved: The configuration of the run.
        config: The same configuration with the user's changes.

    Raises:
        UserError: If training is complete, or a setting is changed that has to stay the same.
    """
    changes = permitted_changes(saved, config, config.resume.allow)
    epochs = checkpoint["loops"]["fit_loop"]["epoch_progress"]["current"]["processed"]
    steps = checkpoint["global_step"]
    complete = _completion(checkpoint, epochs, steps, config.trainer)
    if complete and ((run := run_of(path)) is None or is_finished(run)):
        raise UserError(f"{path}: {complete}")
    optimizer = {name.split(".", 1)[1]: value for name, value in changes.items() if name.startswith("optimizer.")}
    return ResumePoint(path, epochs, steps, complete is not None, optimizer)


def _completion(checkpoint: Mapping[str, Any], epochs: int, steps: int, trainer: Namespace) -> str | None:
    """Return a message if training is complete, with what the user can do; otherwise None."""
    states = [state for state in checkpoint["callbacks"].values() if isinstance(state, dict)]
    stopped = any(state.get("stopped_epoch") or state.get("stopping_reason") for state in states)
    if stopped and epochs >= (trainer.min_epochs or 0) and steps >= (trainer.min_steps or 0):
        return "EarlyStopping has ended training; evaluate the run, or raise --trainer.min_epochs to train on"
    for unit, done, limit in (("epochs", epochs, trainer.max_epochs), ("steps", steps, trainer.max_steps)):
        if limit is not None and 0 <= limit <= done:
            return f"training is complete ({done}/{limit} {unit}); raise --trainer.max_{unit}"
    return None


def permitted_changes(before: Namespace, after: Namespace, allowed: Sequence[str]) -> dict[str, Any]:
    """Return the settings that differ between a run and its continuation, by name, with their new values.

    Raises:
        UserError: If a setting is changed that is not in `allowed` (a name such as `batch_size`, or a section such as
            `data`), or that can never be changed.
    """
    settings = flatten(run_settings(after.as_dict()))
    names = {part for name in settings for part in (name, *name.split("."))}
    for unknown in set(allowed) - names - {"data"}:
        near = get_close_matches(unknown, names, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise UserError(f"--resume.allow: no setting {unknown!r}{hint}")
    old, new = (run_settings(with_full_paths(config).as_dict()) for config in (before, after))
    was, now = flatten(old), flatten(new)
    changes = {name: now.get(name) for name in sorted(was.keys() | now.keys()) if was.get(name) != now.get(name)}
    for name, value in changes.items():
        fixed = name == "optimizer" or name.startswith("lr_scheduler")  # the checkpoint contains their state
        if fixed or not {name, *name.split(".")} & set(allowed):
            hint = "train a new run" + ("" if fixed else f", or pass --resume.allow {name}")
            raise UserError(f"--{name}: a resumed run keeps its {was.get(name)}, got {value}; {hint}")
    return changes


def refuse_other_data(saved: Mapping[str, Any], data: Any, allowed: Sequence[str]) -> None:
    """Check that the data has not changed since a checkpoint was saved, although its path is the same.

    Raises:
        UserError: If it has changed, and `allowed` contains neither `data` nor `path`.
    """
    facts = data_facts(data)
    for name in DATA_FACTS if not {"data", "path"} & set(allowed) else ():
        was, now = saved.get(name), facts.get(name)
        if name == "feature_means" and _means_equal(was, now):
            continue
        if was != now:
            raise UserError(
                f"the data has changed since the run was saved: its {name} were {_short(was)}, now {_short(now)}; "
                "train a new run, or pass --resume.allow data"
            )


def restarted_run(root: Path, config: Callable[[], str]) -> Path | None:
    """Return the last checkpoint of the run that torchrun has restarted; None if this process was not restarted.

    It is the newest run with this configuration.
    """
    if int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")) == 0:
        return None
    text = config()
    same = [path for path in root.glob("*/config.yaml") if path.read_text() == text]
    same = [path for path in same if any(path.parent.glob("checkpoints/*.ckpt"))]
    newest = max(same, key=lambda path: path.stat().st_mtime_ns, default=None)
    return find_checkpoint(str(newest.parent), LAST) if newest else None


def _means_equal(was: Any, now: Any) -> bool:
    """Whether means are equal up to rounding errors, which depend on the order of the additions."""
    if not was or not now or len(was) != len(now):
        return bool(was == now)
    return all(abs(a - b) <= 1e-6 * max(abs(a), abs(b)) + 1e-9 for a, b in zip(was, now, strict=True))


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) < 80 else f"{text[:77]}…"
