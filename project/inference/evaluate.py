"""Test metrics of a run or an exported file, on its own test rows or on others."""

import json
from collections.abc import Sequence
from pathlib import Path

from project.inference.importance import MAX_BARS, Importance, draw_importance, permutation_importance
from project.inference.open_run import open_run
from project.runtime.console import Table, open_console
from project.runtime.errors import UserError
from project.runtime.files import check_output
from project.training.cli import ExperimentCLI
from project.training.constant_prediction import constant_metrics
from project.training.plain_code import test_metrics
from project.training.report import print_metrics


def evaluate(reference: str, args: Sequence[str] = ()) -> tuple[dict[str, float], int]:
    """Compute the test metrics of a model.

    Args:
        reference: A run folder, a checkpoint, `last`, or an `.onnx` file.
        args: Flags that override the run's own, such as `--data.test_path other.csv`.

    Returns:
        Metrics by name, and the number of test rows.
    """
    run = open_run(reference, args)
    return measure(run), len(run.datamodule.splits.test)


def measure(run: ExperimentCLI) -> dict[str, float]:
    """Compute the test metrics of an opened run."""
    if metrics := test_metrics(run.trainer, run.model, run.datamodule):
        return metrics
    problem = f"--model {type(run.model).__name__}: has no test_step that logs metrics; add one"
    if run.trainer.limit_test_batches == 0:
        problem = "--trainer.limit_test_batches: leaves no test batch; raise it"
    raise UserError(problem)


def evaluate_and_report(reference: str, args: Sequence[str], as_json: bool, importance: Path | None = None) -> None:
    """Print the test metrics of a model, and the number of test rows, as a table or as one JSON object.

    The importance of each column is printed, too, and drawn to the file `importance` if that is set.
    """
    if importance is not None:
        check_output(importance, [".png", ".svg"])
    run = open_run(reference, args)
    metrics, rows = measure(run), len(run.datamodule.splits.test)
    found = [] if importance is None else permutation_importance(run.model, run.datamodule)
    if importance is not None:
        draw_importance(found, importance)
    if as_json:
        print(json.dumps(metrics | {f"importance/{each.name}": each.mean for each in found} | {"rows": rows}))
        return
    constant = constant_metrics(run.model, run.datamodule)
    print_metrics(open_console(), metrics, {"constant prediction": constant})
    print(f"on {rows} test rows")
    if found:
        print_importance(found)


def print_importance(found: Sequence[Importance]) -> None:
    """Print the most important columns."""
    table = Table("column", title="Rise of the loss when a column is shuffled", title_justify="left")
    for header in ("mean", "standard deviation"):
        table.add_column(header, justify="right")
    for each in found[:MAX_BARS]:
        table.add_row(each.name, f"{each.mean:#.4g}", f"{each.std:#.2g}")
    open_console().print(table)
