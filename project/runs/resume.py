"""Going on with a run: which one, and that it stays the same run."""

import os
from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from jsonargparse import Namespace

from project.config.yaml import SECTIONS, flatten, with_full_paths
from project.runs.folder import LAST, find_checkpoint
from project.runtime.errors import UserError

DATA_FACTS = ("row_counts", "in_shape", "feature_names", "target_names", "class_names", "feature_means", "fingerprint")


def permitted_changes(before: Namespace, after: Namespace, allowed: Sequence[str]) -> dict[str, Any]:
    """Settings in which a resumed run differs from what it was, by name, with their new values.

    Args:
        before: The run's own configuration.
        after: The same with the args of the command line.
        allowed: Settings that may change, such as `batch_size`, or `data` for all of the data's.

    Raises:
        UserError: If one of them is not allowed, or cannot change: it is named.
    """
    changes: dict[str, Any] = {}
    settings = flatten({key: after.as_dict().get(key) for key in SECTIONS})
    names = {part for name in settings for part in (name, *name.split("."))}
    for unknown in set(allowed) - names - {"data"}:
        near = get_close_matches(unknown, names, n=1)
        raise UserError(f"--resume.allow {unknown}: no such setting" + (f": did you mean {near[0]}?" if near else ""))
    old, new = ({key: with_full_paths(config).as_dict().get(key) for key in SECTIONS} for config in (before, after))
    was, now = flatten(old), flatten(new)
    for name in sorted(was.keys() | now.keys()):
        if was.get(name) == now.get(name):
            continue
        fixed = name == "optimizer" or name.startswith("lr_scheduler")  # what the state in the checkpoint is of
        if fixed or not {name, *name.split(".")} & set(allowed):
            mend = "train anew" if fixed else f"train anew, or give --resume.allow {name}"
            raise UserError(f"--{name}: a resumed run keeps its {was.get(name)}, and {now.get(name)} was given: {mend}")
        changes[name] = now.get(name)
    return changes


def refuse_other_data(saved: Mapping[str, Any], data: Any, allowed: Sequence[str]) -> None:
    """Raise a UserError where rows are not those that a run was trained on, though they have the same address.

    Args:
        saved: What a checkpoint says of its data.
        data: The data module.
        allowed: See `permitted_changes`.
    """
    for name in DATA_FACTS if not {"data", "path"} & set(allowed) else ():
        was, now = saved.get(name), getattr(data, name, None)
        if name == "feature_means" and _close(was, now):
            continue
        if was != now:
            raise UserError(
                f"the data has changed since the run was saved: its {name} were {_short(was)} and are {_short(now)}: "
                "train anew, or give --resume.allow data"
            )


def is_finished(checkpoint: Mapping[str, Any], trainer: Namespace, path: Path) -> bool:
    """Whether a run has nothing left but to be tested and reported, as one that was stopped after its last step.

    Args:
        checkpoint: From `read_checkpoint`.
        trainer: The Trainer's arguments.
        path: Where the checkpoint lies.

    Raises:
        UserError: If it has nothing left at all.
    """
    epochs = checkpoint["loops"]["fit_loop"]["epoch_progress"]["current"]["processed"]
    limits = [("max_epochs", epochs, trainer.max_epochs), ("max_steps", checkpoint["global_step"], trainer.max_steps)]
    reached = [(flag, done, most) for flag, done, most in limits if most is not None and 0 <= most <= done]
    states = [state for state in checkpoint.get("callbacks", {}).values() if isinstance(state, dict)]
    early = any(state.get("stopped_epoch") for state in states)
    if not reached and not early:
        return False
    if path.parent.name == "checkpoints" and not (path.parents[1] / "metrics.json").exists():
        return True
    if early:
        raise UserError(f"{path}: EarlyStopping has ended this run: evaluate it, or train anew without it")
    flag, done, most = reached[0]
    raise UserError(f"{path}: {done} of --trainer.{flag} {most} are done: give more to go on")


def restarted_run(root: Path, config: Callable[[], str]) -> Path | None:
    """The checkpoint that a job goes on from which torchrun has started again; None where there is none.

    It is of the newest run of the same configuration.

    Args:
        root: Folder of runs.
        config: Gives the job's configuration, as YAML.
    """
    if int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")) == 0:
        return None
    text = config()
    runs = [path.parent for path in root.glob("version_*/config.yaml") if path.read_text() == text]
    runs = [run for run in runs if any(run.glob("checkpoints/*.ckpt"))]
    if not runs:
        return None
    newest = max(runs, key=lambda run: (run / "config.yaml").stat().st_mtime_ns)
    return find_checkpoint(str(newest), LAST)


def _close(was: Any, now: Any) -> bool:
    """Whether means are the same but for the order of additions."""
    if not was or not now or len(was) != len(now):
        return bool(was == now)
    return all(abs(a - b) <= 1e-6 * max(abs(a), abs(b)) + 1e-9 for a, b in zip(was, now, strict=True))


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) < 80 else f"{text[:77]}…"
