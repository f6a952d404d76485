"""Run a pipeline, from its command line to its report."""

import contextlib
import io
import os
import shlex
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from project.config.trust import with_trust
from project.pipeline.pipeline import Pipeline, StageResult
from project.pipeline.plan import make_plan
from project.pipeline.record import open_record, read_record, write_record
from project.pipeline.report.report import PAGE, read_report
from project.pipeline.report.table import cell, format_metric, headings, summary_line
from project.pipeline.stages import STAGES
from project.runs.folder import ROOT, claim_version
from project.runtime.console import Table, open_console
from project.runtime.errors import UserError
from project.stages.base import StageSkipped

COLUMNS = ("name", "metric", "interval", "parameters", "bytes", "milliseconds_64", "seconds")


def run_pipeline(folder: Path | None, stages: str | None, args: Sequence[str], trusted: Sequence[str] = ()) -> Path:
    """Run every stage that has not run yet, and print the result of each.

    Args:
        folder: Folder of the pipeline to resume or to start; `lightning_logs/lifecycle_N` by default.
        stages: Names separated by commas.
        args: Flags of scripts/train.py, and of stages as `--STAGE.FLAG`.
        trusted: Modules whose classes configurations may name.

    Returns:
        The folder.

    Raises:
        UserError: If a stage fails; the results of the stages before it are kept.
    """
    trust = [f"--trust={module}" for module in trusted]
    with_trust(trust)
    before = read_record(folder) if folder is not None else None
    resumes = folder is not None and not args and stages is None
    plan = None if resumes else make_plan(stages, args, trust, before[0] if before else None)
    if folder is None:
        assert plan is not None
        folder = claim_version(Path(plan.config["trainer"]["default_root_dir"] or ".") / ROOT, "lifecycle")
    console = open_console()
    with open_record(folder, plan) as (plan, results):
        pipeline = Pipeline(folder, plan, results, trust)
        for stage in plan.stages[len(results) :]:
            with suggest_resume(pipeline, f"{len(results) + 1}_{stage}"), progress(console, pipeline, stage) as show:
                started = time.perf_counter()
                with contextlib.redirect_stdout(LastEpoch(show)):
                    result = run_stage(pipeline, stage)
                result.seconds = time.perf_counter() - started
            results.append(result)
            write_record(folder, plan, results)
            console.print(result_line(pipeline, result), highlight=False, soft_wrap=True)
    print_report(console, folder)
    return folder


def run_stage(pipeline: Pipeline, name: str) -> StageResult:
    """Run the next stage; the caller measures its seconds."""
    stage, result = STAGES[name], StageResult(name, f"{len(pipeline.results) + 1}_{name}")
    try:
        stage.run(pipeline, result, *stage.parse(pipeline.plan.args(name)))
    except StageSkipped as reason:
        result.skipped, result.model = str(reason), ""
    return result


@contextlib.contextmanager
def suggest_resume(pipeline: Pipeline, name: str) -> Iterator[None]:
    """If a stage fails or is stopped, add its name and the command that resumes the pipeline to the message."""
    command = f"python scripts/lifecycle.py --folder {shlex.quote(os.path.relpath(pipeline.folder))}"
    try:
        yield
    except (UserError, OSError) as error:
        kept = pipeline.results or (pipeline.folder / name).exists()
        hint = f" (finished stages are kept; after fixing it, continue with {command})" if kept else ""
        raise UserError(f"{name}: {error}{hint}") from error
    except SystemExit:
        print(f"{name} was stopped; continue with {command}", file=sys.stderr)
        raise


@contextlib.contextmanager
def progress(console: Console, pipeline: Pipeline, stage: str) -> Iterator[Callable[[str], None]]:
    """Show on a terminal which stage is running."""
    label = f"[{len(pipeline.results) + 1}/{len(pipeline.plan.stages)}] {stage}"
    with console.status(escape(label)) as status:
        yield lambda text: status.update(escape(f"{label}: {text}"))


class LastEpoch(io.TextIOBase):
    """Discards the output of a training, except for the newest line about an epoch, which is shown."""

    def __init__(self, show: Callable[[str], None]) -> None:
        self.show = show

    def write(self, text: str) -> int:
        """Show the text if it is such a line."""
        if text.startswith("Epoch ["):
            self.show(text.strip())
        return len(text)


def result_line(pipeline: Pipeline, result: StageResult) -> str:
    """Return one line about a finished stage."""
    source = next((each for each in pipeline.results if each.name == result.source), StageResult("", ""))
    before = {name: f" ({source.name}: {format_metric(value)})" for name, value in source.figures.items()}
    figures = [
        f"{name} {format_metric(value) if name.startswith('test/') else format(value, '.3g')}{before.get(name, '')}"
        for name, value in result.figures.items()
    ]
    outcome = f"skipped: {result.skipped}" if result.skipped else ", ".join(figures) or "finished"
    return f"[{len(pipeline.results)}/{len(pipeline.plan.stages)}] {result.name}, {result.seconds:.1f} s: {outcome}"


def print_report(console: Console, folder: Path) -> None:
    """Print the table of a pipeline, and where to find its report."""
    report = read_report(folder)
    titles, table = headings(report["metric"]), Table()
    for key in COLUMNS:
        table.add_column(titles[key], justify="left" if key == "name" else "right")
    for row in report["rows"]:
        table.add_row(*(cell(row, key) for key in COLUMNS))
    console.print(table)
    path = os.path.relpath(folder)
    lines = [f"{row['name']}: {row['verdict']}" for row in report["rows"]]
    lines += [
        summary_line(report),
        f"Report:      {path}/{PAGE}",
        f"TensorBoard: tensorboard --logdir {shlex.quote(str(path))}",
    ]
    console.print("\n".join(lines), highlight=False, soft_wrap=True)
