"""A summary of a run, read from its config.yaml and metrics.json."""

import contextlib
import json
from collections.abc import Mapping
from pathlib import Path, PurePath
from typing import Any, NamedTuple

from filelock import FileLock, Timeout

from project.config.plain_data import Value, flatten, read_yaml
from project.runs.folder import CHECKPOINTS, LOCK, METRICS, is_finished
from project.runtime.errors import UserError

SHOWN = ("accuracy", "bits_per_byte", "rmse", "loss")  # a table shows the first of these metrics that a run has
RISING = ("accuracy", "f1", "r2", "auc", "average_precision", "balanced_accuracy")


class RunSummary(NamedTuple):
    """A run as one row of a table.

    Attributes:
        path: Its folder.
        name: The folder, as seen from the folder of all runs.
        model: Class of the model; empty if config.yaml is damaged, as are net and data.
        net: Class of the network.
        data: Class of the data module, and the name of its file.
        metrics: The content of metrics.json.
        settings: The settings in config.yaml, by full name.
        state: `finished`, `training` (a process works on it) or `unfinished`.
        bytes: Size of its folder.
        changed: When it was changed last, in seconds since 1970.
    """

    path: Path
    name: str
    model: str
    net: str
    data: str
    metrics: dict[str, float]
    settings: dict[str, Value]
    state: str
    bytes: int
    changed: float

    def metric(self, name: str | None = None) -> tuple[str, float | None]:
        """Return the name and the value of a metric, by default the first of `SHOWN` that the run has."""
        names = [name] if name else [f"test/{shown}" for shown in SHOWN]
        return next(((each, self.metrics[each]) for each in names if each in self.metrics), (name or "", None))


def rises(metric: str) -> bool:
    """Whether a higher value of a metric is better."""
    return metric.rsplit("/", 1)[-1] in RISING


def read_runs(root: Path) -> list[RunSummary]:
    """Return the runs in a folder and its subfolders, such as those of sweeps, the newest first.

    Raises:
        UserError: If there is none.
    """
    runs = [summary(path.parent, root) for path in sorted(root.rglob("config.yaml")) if _is_run(path.parent)]
    if not runs:
        raise UserError(f"{root}: contains no run; train one with python scripts/train.py, or pass --folder")
    return sorted(runs, key=lambda run: -run.changed)


def summary(path: Path, root: Path) -> RunSummary:
    """Return the summary of the run in a folder, and its name as seen from `root`."""
    config: Mapping[str, Any] = {}
    with contextlib.suppress(UserError, UnicodeDecodeError):
        found = read_yaml((path / "config.yaml").read_text(encoding="utf-8"), str(path))
        config = found if isinstance(found, dict) else {}
    settings = flatten(config)
    data = str(settings.get("data", "")).removesuffix("DataModule")
    if source := settings.get("data.path"):
        data += f" {PurePath(str(source)).name}"
    files = [file.stat() for file in path.rglob("*") if file.is_file()]
    return RunSummary(
        path=path,
        name=str(path.relative_to(root)),
        model=str(settings.get("model", "")),
        net=str(settings.get("model.net", "")),
        data=data,
        metrics=_metrics(path),
        settings=settings,
        state="training" if _is_locked(path) else "finished" if is_finished(path) else "unfinished",
        bytes=sum(file.st_size for file in files),
        changed=max((file.st_mtime for file in files), default=0.0),
    )


def _is_run(path: Path) -> bool:
    return (path / CHECKPOINTS).is_dir() or (path / METRICS).exists()


def _metrics(path: Path) -> dict[str, float]:
    with contextlib.suppress(OSError, ValueError):
        found = json.loads((path / METRICS).read_text(encoding="utf-8"))
        if isinstance(found, dict):
            return {name: float(value) for name, value in found.items() if isinstance(value, int | float)}
    return {}


def _is_locked(path: Path) -> bool:
    if not (path / LOCK).exists():
        return False
    try:
        with FileLock(path / LOCK, timeout=0):
            return False
    except Timeout:
        return True
    except OSError:  # a folder that cannot be written
        return False
