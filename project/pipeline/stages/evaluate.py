"""Compare all models on the same test rows, and write the report."""

import time

from project.pipeline.pipeline import Measured, Pipeline, StageResult, Task, Verdict
from project.pipeline.stage import Options, Stage


class Evaluate(Stage):
    """Measures quality, size and speed of every model."""

    name = "evaluate"

    def run(self, pipeline: Pipeline, result: StageResult, options: Options, flags: list[str]) -> None:
        """Write report.html, report.md and report.json."""
        from project.pipeline.report.report import write_report

        started, last = time.perf_counter(), pipeline.last()
        result.source, result.command = last.name, self.command(pipeline.path(last), *pipeline.trust)
        write_report(pipeline, result, started)

    def verdict(self, pipeline: Pipeline, result: StageResult, measured: dict[str, Measured], task: Task) -> Verdict:
        """Describe the comparison."""
        return Verdict(None, f"all models on the same {len(task.x):,} test rows; speeds are measured in turn")
