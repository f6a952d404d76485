"""Select and order the runs of a table."""

from collections.abc import Callable, Sequence
from typing import Any

from project.overview.summary import RunSummary, rises
from project.runtime.errors import UserError

ORDERS: dict[str, Callable[[RunSummary], Any]] = {
    "age": lambda run: -run.changed,
    "name": lambda run: run.name,
    "data": lambda run: (run.data, run.name),
    "model": lambda run: (run.model, run.net, run.name),
    "size": lambda run: -run.bytes,
}
COLUMNS = ("name", "model", "net", "data", "state")


def selected(runs: Sequence[RunSummary], conditions: Sequence[str]) -> list[RunSummary]:
    """Return the runs that match all conditions.

    Args:
        runs: The runs.
        conditions: `COLUMN=TEXT` for a column that contains a text, in any case, or `SETTING=VALUE`, as in
            `optimizer.lr=0.1`.

    Raises:
        UserError: If a condition is neither, or no run has such a setting.
    """
    for condition in conditions:
        name, separator, wanted = condition.partition("=")
        if not separator:
            raise UserError(f"--where: expected COLUMN=TEXT or SETTING=VALUE, got {condition!r}; try --where net=MLP")
        if name in COLUMNS:
            runs = [run for run in runs if wanted.lower() in str(getattr(run, name)).lower()]
            continue
        if not any(name in run.settings for run in runs):
            raise UserError(f"--where: no run has a setting {name!r}; columns are {', '.join(COLUMNS)}")
        runs = [run for run in runs if _equal(run.settings.get(name), wanted)]
    return list(runs)


def ordered(runs: Sequence[RunSummary], order: str, metric: str | None) -> list[RunSummary]:
    """Return the runs by age, name, data, model or size, or the best first for `metric`; those without it come last."""
    if order != "metric":
        return sorted(runs, key=ORDERS[order])
    return sorted(runs, key=lambda run: (run.data, _rank(run, metric)))


def best_of_each_data(runs: Sequence[RunSummary], metric: str | None) -> list[RunSummary]:
    """Return the best finished run of each data set; metrics on different rows cannot be compared."""
    best: dict[object, RunSummary] = {}
    for run in runs:
        name, value = run.metric(metric)
        key = (name, *(item for item in sorted(run.settings.items()) if _is_of_data(item[0])))
        if value is not None and (key not in best or _rank(run, metric) < _rank(best[key], metric)):
            best[key] = run
    return list(best.values())


def _is_of_data(name: str) -> bool:
    """Whether a setting determines the rows, and not only how they are loaded."""
    return name.startswith("data") and name not in ("data.batch_size", "data.num_workers")


def _rank(run: RunSummary, metric: str | None) -> tuple[bool, float]:
    name, value = run.metric(metric)
    return value is None, 0.0 if value is None else -value if rises(name) else value


def _equal(value: object, wanted: str) -> bool:
    try:
        return float(str(value)) == float(wanted)
    except ValueError:
        return str(value).lower() == wanted.lower()
