"""Runs in the terminal: a table, a comparison, or JSON."""

import json
import math
import time
from collections.abc import Mapping, Sequence
from typing import Any

from project.overview.summary import RunSummary
from project.runtime.console import Table, open_console
from project.runtime.errors import UserError

TITLES = ("run", "model", "net", "data", "metric", "value", "size", "age", "state")
NUMBERS = ("value", "size", "age")  # columns that are right-aligned
UNITS = ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s"))
MAX_VALUE = 60  # characters of a setting that a comparison shows


def cells(run: RunSummary, metric: str | None) -> tuple[str, ...]:
    """Return the texts of a run's row, in the order of `TITLES`."""
    name, value = run.metric(metric)
    return (
        *(run.name, run.model, run.net, run.data, name, "" if value is None else f"{value:.4g}"),
        *(f"{run.bytes / 2**20:.1f} MiB", age(time.time() - run.changed), run.state),
    )


def age(seconds: float) -> str:
    """Return a duration in its largest unit: `3 d`, `5 h`, `12 min`, `40 s`."""
    size, unit = next(((size, unit) for size, unit in UNITS if seconds >= size), UNITS[-1])
    return f"{max(seconds, 0) // size:.0f} {unit}"


def print_runs(runs: Sequence[RunSummary], metric: str | None) -> None:
    """Print one row per run."""
    table = Table()
    for title in TITLES:
        table.add_column(title, justify="right" if title in NUMBERS else "left", overflow="fold")
    for run in runs:
        table.add_row(*cells(run, metric))
    open_console().print(table)


def print_json(runs: Sequence[RunSummary]) -> None:
    """Print all that is known about each run as one JSON array."""
    print(json.dumps([run._asdict() | {"path": str(run.path)} for run in runs], indent=2))


def print_comparison(runs: Sequence[RunSummary]) -> None:
    """Print the settings in which runs differ, and all their metrics.

    Raises:
        UserError: If there is only one.
    """
    if len(runs) < 2:
        raise UserError("--compare: pass at least two runs")
    settings = _side_by_side([run.settings for run in runs])
    different = {name: values for name, values in settings.items() if any(value != values[0] for value in values)}
    console = open_console()
    if different:
        console.print(_comparison("Settings that differ", runs, different))
    else:
        console.print("No setting differs.")
    console.print(_comparison("Metrics", runs, _side_by_side([run.metrics for run in runs])))


def _side_by_side(parts: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    names = dict.fromkeys(name for part in parts for name in part)
    return {name: [part.get(name) for part in parts] for name in names}


def _comparison(title: str, runs: Sequence[RunSummary], values: Mapping[str, Sequence[Any]]) -> Table:
    table = Table("", *(run.name for run in runs), title=title, title_justify="left")
    for name, found in values.items():
        table.add_row(name, *map(_text, found))
    return table


def _text(value: Any) -> str:
    if isinstance(value, float) and math.isfinite(value):
        return f"{value:.6g}"
    return "" if value is None else str(value)[:MAX_VALUE]
