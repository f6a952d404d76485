"""Train the experiment; the first run of a pipeline, from which the other stages start."""

from project.pipeline.pipeline import Measured, Pipeline, StageResult, Task, Verdict
from project.pipeline.stage import Options, Stage, fit


class Train(Stage):
    """Trains the network of the experiment."""

    name = "train"
    trains = True
    needs_run = False

    def run(self, pipeline: Pipeline, result: StageResult, options: Options, flags: list[str]) -> None:
        """Train in the stage's folder."""
        from project.training.train import train

        args = ["--config", str(pipeline.experiment), *flags, *pipeline.trust]
        result.command = self.command(*args)
        fit(pipeline, result, lambda run: train(args, folder=run))

    def verdict(self, pipeline: Pipeline, result: StageResult, measured: dict[str, Measured], task: Task) -> Verdict:
        """Compare with a constant prediction."""
        from project.pipeline.report.verdict import of_training

        return of_training(measured[result.name], task)
