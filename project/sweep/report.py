"""The results of a sweep: a table of trials, and the best trial as an experiment."""

import json
import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

from project.runtime.console import Table, open_console
from project.runtime.errors import UserError
from project.sweep.experiment import write_experiment
from project.sweep.settings import Settings
from project.sweep.trial import run_of

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import FrozenTrial

BEST = "best.yaml"


def trial_line(study: "Study", number: int) -> str:
    """Return one line about a finished trial."""
    trial = study.get_trials(deepcopy=False)[number]
    return f"trial {number}: {_state(trial)}, {_result(study, trial)}"


def _state(trial: "FrozenTrial") -> str:
    return {"FAIL": "failed"}.get(trial.state.name, trial.state.name.lower())


def _result(study: "Study", trial: "FrozenTrial") -> str:
    if trial.value is None:
        return "".join(letter for letter in trial.user_attrs.get("error", "") if letter.isprintable())
    return f"{study.user_attrs['settings']['metric']} {trial.value:#.6g}"


def report(study: "Study", folder: Path, settings: Settings) -> None:
    """Print all trials and the path of the best one, and write the best one as an experiment.

    Raises:
        UserError: If no trial is complete.
    """
    trials, best = study.get_trials(deepcopy=False), None
    if any(trial.state.name == "COMPLETE" for trial in trials):
        best = study.best_trial
    console = open_console()
    console.print()
    console.print(trial_table(study, folder, best))
    failed = [trial_line(study, trial.number) for trial in trials if "error" in trial.user_attrs]
    for line in failed:
        console.print(line, highlight=False, soft_wrap=True)
    if best is None:
        raise UserError(f"{folder}: no trial is complete; {failed[-1] if failed else 'all were pruned'}")
    run, path = run_of(folder, best.number), folder / BEST
    train = " ".join(["python scripts/train.py --config", shlex.quote(os.path.relpath(path)), *settings["trust"]])
    title = f"Best of {len(trials)} trials ({run}) by {settings['metric']}. Searched flags:"
    ranges = [f"--{flag} {text}" for flag, text in settings["search"].items()]
    write_experiment(run, path, [title, *ranges, train], metrics_of(run), settings["trust"])
    lines = {
        "Best": f"{run}, {_result(study, best)}",
        "Train it": train,
        "TensorBoard": f"tensorboard --logdir {shlex.quote(str(folder))}",
    }
    for name, line in lines.items():
        console.print(f"{name + ':':<12} {line}", highlight=False, soft_wrap=True)


def trial_table(study: "Study", folder: Path, best: "FrozenTrial | None") -> Table:
    """Return a table with number, state, value, searched flags and seconds of every trial; the best is highlighted."""
    flags = list(study.user_attrs["settings"]["search"])
    table = Table("trial", "state")
    for title in (study.user_attrs["settings"]["metric"], *flags, "seconds"):
        table.add_column(title, justify="right")
    for trial in study.get_trials(deepcopy=False):
        is_best = best is not None and trial.number == best.number
        state = "best" if is_best else _state(trial)
        value = "" if trial.value is None else f"{trial.value:#.6g}"
        seconds = metrics_of(run_of(folder, trial.number)).get("seconds/fit")
        chosen = [_short(trial.params.get(flag, "")) for flag in flags]
        cells = [str(trial.number), state, value, *chosen, "" if seconds is None else f"{seconds:.1f}"]
        table.add_row(*cells, style="bold green" if is_best else None)
    return table


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def metrics_of(run: Path) -> dict[str, float]:
    """Return the contents of a run's metrics.json; empty if there is no such file."""
    path = run / "metrics.json"
    return json.loads(path.read_text()) if path.exists() else {}
