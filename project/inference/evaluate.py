"""Test metrics of a run or an exported file, on its own test rows or on others."""

import json
from collections.abc import Sequence

from project.inference.open_run import open_run
from project.runtime.console import open_console
from project.runtime.errors import UserError
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
    if run.trainer.limit_test_batches == 0:
        raise UserError("--trainer.limit_test_batches: leaves no test batch; raise it")
    name = type(run.model).__name__
    raise UserError(f"--model {name}: has no test_step that logs metrics, which evaluation shows; add one")


def evaluate_and_report(reference: str, args: Sequence[str], as_json: bool) -> None:
    """Print the test metrics of a model, and the number of test rows, as a table or as one JSON object."""
    run = open_run(reference, args)
    metrics, rows = measure(run), len(run.datamodule.splits.test)
    if as_json:
        print(json.dumps(metrics | {"rows": rows}))
    else:
        constant = constant_metrics(run.model, run.datamodule)
        print_metrics(open_console(), metrics, {"constant prediction": constant})
        print(f"on {rows} test rows")
