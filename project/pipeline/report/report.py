"""Write the report of a pipeline: a table as a page, in Markdown, as JSON and in TensorBoard."""

import json
import time
from pathlib import Path
from typing import Any

from project.pipeline.pipeline import Measured, Pipeline, StageResult, Task, Verdict
from project.pipeline.report.measure import learning_curves, measure, read_task
from project.pipeline.report.page import page
from project.pipeline.report.table import Row, commands, markdown
from project.pipeline.stage import STAGES
from project.runtime.files import atomic_write
from project.stages.base import LINEAR

JSON, MARKDOWN, PAGE = "report.json", "report.md", "report.html"


def write_report(pipeline: Pipeline, evaluation: StageResult, started: float) -> None:
    """Measure every model, and write the report; `evaluation` is the stage that does so and began at `started`."""
    task, last = read_task(pipeline), pipeline.last()
    measured = measure(pipeline, task)
    evaluation.seconds = time.perf_counter() - started
    rows = [make_row(pipeline, result, measured, task) for result in [*pipeline.results, evaluation]]
    report = {
        "title": title(pipeline),
        "metric": task.metric,
        "rises": task.rises,
        "test_rows": len(task.x),
        "rows": rows,
        "summary": summary(rows, last.name),
    }
    _write(pipeline.folder / JSON, json.dumps(report, indent=2) + "\n")
    _write(pipeline.folder / MARKDOWN, f"{markdown(report)}\n{commands(report)}")
    _write(pipeline.folder / PAGE, page(report, learning_curves(pipeline)))
    _log(pipeline.folder, markdown(report))


def title(pipeline: Pipeline) -> str:
    """Return the names of the net and of the data."""
    config = pipeline.plan.config
    net = config["model"]["init_args"].get("net") or LINEAR
    names = [path.rpartition(".")[2] for path in (net["class_path"], config["data"]["class_path"])]
    return " on ".join(names).removesuffix("DataModule")


def make_row(pipeline: Pipeline, result: StageResult, measured: dict[str, Measured], task: Task) -> Row:
    """Return the table's row of a stage."""
    if result.skipped:
        verdict = Verdict(None, f"skipped: {result.skipped}")
    else:
        verdict = STAGES[result.stage].verdict(pipeline, result, measured, task)
    row: Row = {"name": result.name, "stage": result.stage, "source": result.source, "model": result.model}
    row |= {"gain": verdict.gain, "verdict": verdict.text, "seconds": result.seconds}
    row["command"] = "" if result.skipped else result.command
    if model := measured.get(result.name):
        row |= {"metric": model.metrics[f"test/{task.metric}"], "interval": list(model.interval)}
        row |= {"metrics": model.metrics, "parameters": model.parameters, "nonzero": model.nonzero}
        row["bytes"] = model.bytes
        row |= {f"milliseconds_{rows}": value for rows, value in model.milliseconds.items()}
    if "requests_per_second" in result.figures:
        row["requests_per_second"] = result.figures["requests_per_second"]
    return row


def summary(rows: list[Row], name: str) -> dict[str, Any]:
    """Compare the last model of a pipeline, given by its name, with the first one."""
    models = {row["name"]: row for row in rows if "bytes" in row}
    first, last = next(iter(models.values())), models[name]
    return {
        "first": first["name"],
        "last": last["name"],
        "metric_first": first["metric"],
        "metric_last": last["metric"],
        "times_smaller": first["bytes"] / last["bytes"],
        "times_faster_1": first["milliseconds_1"] / last["milliseconds_1"],
        "times_faster_64": first["milliseconds_64"] / last["milliseconds_64"],
        "seconds": sum(row["seconds"] for row in rows),
    }


def read_report(folder: Path) -> dict[str, Any]:
    """Read report.json of a pipeline."""
    report: dict[str, Any] = json.loads((folder / JSON).read_text(encoding="utf-8"))
    return report


def _write(path: Path, text: str) -> None:
    with atomic_write(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def _log(folder: Path, text: str) -> None:
    """Show the table in TensorBoard, next to the curves of the runs."""
    from torch.utils.tensorboard import SummaryWriter

    for path in folder.glob("events.out.tfevents.*"):  # of an earlier report
        path.unlink()
    with SummaryWriter(str(folder)) as writer:
        writer.add_text("life cycle", text)
