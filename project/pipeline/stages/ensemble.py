"""Train several copies of the experiment's network in one fit; the model is their mean."""

from typing import ClassVar

from project.pipeline.pipeline import Measured, Pipeline, StageResult, Task, Verdict
from project.pipeline.stage import Options, Stage, fit
from project.runtime.arguments import boolean
from project.runtime.ranges import IntFromTwo

MEMBERS = 3  # default in a pipeline


class Ensemble(Stage):
    """Trains members side by side."""

    name = "ensemble"
    options: ClassVar[dict[str, Options]] = {
        "members": {
            "type": IntFromTwo,
            "metavar": "K",
            "help": "number of copies of one network to train jointly, each from its own seed",
        },
        "bootstrap": {
            "type": boolean,
            "nargs": "?",
            "const": True,
            "metavar": "true|false",
            "help": "train each member on its own bootstrap sample of the rows",
        },
    }
    trains = True
    needs_run = False

    def run(self, pipeline: Pipeline, result: StageResult, options: Options, flags: list[str]) -> None:
        """Train the members in the stage's folder."""
        from project.stages.base import LINEAR
        from project.stages.ensemble import train_jointly

        model = pipeline.plan.config["model"]
        # Copies of a linear net all start at zero, so without different samples they would stay identical.
        linear = model["init_args"].get("net", LINEAR)["class_path"] == LINEAR["class_path"]
        members, bootstrap = options.get("members", MEMBERS), options.get("bootstrap", linear)
        args = ["--config", str(pipeline.experiment), *flags, *pipeline.trust]
        result.command = self.command("--members", members, *["--bootstrap"] * bootstrap, *args)
        fit(pipeline, result, lambda run: train_jointly(members, bootstrap, args, run))

    def verdict(self, pipeline: Pipeline, result: StageResult, measured: dict[str, Measured], task: Task) -> Verdict:
        """Compare with one network: an ensemble costs more, so only its quality counts."""
        from project.pipeline.report.verdict import of_quality, of_training

        single = next((each for each in pipeline.results if each.stage == "train" and each.model), None)
        if single is None:
            return of_training(measured[result.name], task)
        return of_quality(measured[result.name], measured[single.name], single.name, task)
