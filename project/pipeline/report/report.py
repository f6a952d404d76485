"""What a chain came to: one table, in a page, in Markdown, in JSON and in TensorBoard."""

import json
import time
from pathlib import Path
from typing import Any

from project.pipeline.record import Pipeline, StageResult
from project.pipeline.report.curves import learning_curves
from project.pipeline.report.measure import Measured, Task, measure, read_task
from project.pipeline.report.page import page
from project.pipeline.report.table import Row, commands, markdown
from project.pipeline.report.verdict import Verdict, of_compression, of_ensemble, of_training
from project.runtime.files import atomic_write

JSON, MARKDOWN, PAGE = "report.json", "report.md", "report.html"


def report(chain: Pipeline, evaluation: StageResult, began: float) -> None:
    """Measure every model of a chain, and write its report.

    Args:
        chain: All stages before.
        evaluation: The stage that this is.
        began: When, by `time.perf_counter`.
    """
    task, last = read_task(chain), chain.last()
    measured = measure(chain, task)
    evaluation.seconds = time.perf_counter() - began
    rows = [row_of(chain, done, measured, task) for done in [*chain.done, evaluation]]
    found = {
        "title": title(chain),
        "metric": task.metric,
        "rises": task.rises,
        "test_rows": len(task.x),
        "rows": rows,
        "summary": summary(rows, last.name),
    }
    _write(chain.folder / JSON, json.dumps(found, indent=2) + "\n")
    _write(chain.folder / MARKDOWN, f"{markdown(found)}\n{commands(found)}")
    _write(chain.folder / PAGE, page(found, learning_curves(chain)))
    _log(chain.folder, markdown(found))


def title(chain: Pipeline) -> str:
    """Net and data in a few args."""
    model, data = chain.plan.config["model"], chain.plan.config["data"]["class_path"].rsplit(".", 1)[-1]
    net = (model["init_args"].get("net") or {"class_path": "Linear"})["class_path"].rsplit(".", 1)[-1]
    return f"{net} on {data.removesuffix('DataModule')}"


def row_of(chain: Pipeline, done: StageResult, measured: dict[str, Measured], task: Task) -> Row:
    """A stage's line of the table."""
    verdict = verdict_of(chain, done, measured, task)
    row: Row = {"name": done.name, "stage": done.stage, "source": done.source, "model": done.model}
    row |= {
        "gain": verdict.gain,
        "told": verdict.told,
        "seconds": done.seconds,
        "command": done.command * (not done.finding),
    }
    if done.name in measured:
        it = measured[done.name]
        row |= {"metric": it.metrics[f"test/{task.metric}"], "interval": list(it.interval), "metrics": it.metrics}
        row |= {"parameters": it.parameters, "nonzero": it.nonzero, "bytes": it.bytes}
        row |= {f"milliseconds_{rows}": value for rows, value in it.milliseconds.items()}
    if "requests_per_second" in done.figures:
        row["requests_per_second"] = done.figures["requests_per_second"]
    return row


def verdict_of(chain: Pipeline, done: StageResult, measured: dict[str, Measured], task: Task) -> Verdict:
    """What a stage has gained, beside the one that it took its model from."""
    if done.finding:
        return Verdict(False, done.finding)
    now, before = measured.get(done.name), measured.get(done.source)
    if now is not None and done.stage == "train":
        return of_training(now, task)
    if now is not None and done.stage == "ensemble":
        one = next((each for each in chain.done if each.stage == "train"), None)
        return of_ensemble(now, measured[one.name], one.name, task) if one else of_training(now, task)
    if now is not None and before is not None:
        return of_compression(now, before, done.source, task)
    if done.stage == "export":
        count = int(done.figures["files"])
        return Verdict(None, f"{count} ONNX file{'s' * (count > 1)}, each proven to answer as its network does")
    if done.stage == "evaluate":
        return Verdict(None, f"all models on the same {len(task.x):,} test rows, their speeds measured in turn")
    return Verdict(
        None,
        f"{done.source} over HTTP: answers {int(done.figures['rows_asked'])} test rows as the file itself does; first "
        f"answer after {done.figures['start_seconds']:.1f} s; ends at SIGTERM with status 0",
    )


def summary(rows: list[Row], name: str) -> dict[str, Any]:
    """The model that all stages have led to, by its name, beside the first one."""
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


def _write(path: Path, text: str) -> None:
    with atomic_write(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def _log(folder: Path, text: str) -> None:
    """Have TensorBoard show it, beside the curves of the runs."""
    from torch.utils.tensorboard import SummaryWriter

    for path in folder.glob("events.out.tfevents.*"):  # of a report before
        path.unlink()
    with SummaryWriter(str(folder)) as writer:
        writer.add_text("life cycle", text)


def read_report(folder: Path) -> dict[str, Any]:
    """What report.json of a chain holds."""
    found: dict[str, Any] = json.loads((folder / JSON).read_text(encoding="utf-8"))
    return found
