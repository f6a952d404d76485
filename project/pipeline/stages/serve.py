"""Serve the model so far, and check its answers."""

from typing import ClassVar

from project.pipeline.pipeline import Measured, Pipeline, StageResult, Task, Verdict
from project.pipeline.stage import Options, Stage, as_flags
from project.runtime.ranges import PositiveInt


class Serve(Stage):
    """Starts a server, sends it test rows, and stops it."""

    name = "serve"
    options: ClassVar[dict[str, Options]] = {
        "threads": {"type": PositiveInt, "help": "threads within one operation of the model"}
    }

    def run(self, pipeline: Pipeline, result: StageResult, options: Options, flags: list[str]) -> None:
        """Measure start-up and requests per second, and compare the answers with the file's own."""
        from project.pipeline.server_check import check_server

        source = pipeline.last()
        result.source, path = source.name, pipeline.artifact(source)
        result.command = self.command(path, *as_flags(options))
        result.figures |= check_server(path, as_flags(options), pipeline.path(pipeline.run()), pipeline.trust)

    def verdict(self, pipeline: Pipeline, result: StageResult, measured: dict[str, Measured], task: Task) -> Verdict:
        """Say what was checked."""
        rows, seconds = int(result.figures["rows_checked"]), result.figures["start_seconds"]
        return Verdict(
            None,
            f"the server's answers to {rows} test rows equal those of {result.source}; first answer after "
            f"{seconds:.1f} s; exits with status 0 at SIGTERM",
        )
