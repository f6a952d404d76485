"""Train a smaller network to imitate the model so far."""

import json
from collections.abc import Sequence
from typing import Any, ClassVar

from project.pipeline.pipeline import Pipeline, StageResult
from project.pipeline.stage import Options, Stage, fit


class Distill(Stage):
    """Trains a student on the labels and on the outputs of its teacher."""

    name = "distill"
    options: ClassVar[dict[str, Options]] = {
        "unlabelled": {
            "metavar": "FILE",
            "help": "table of additional rows, labelled by the teacher alone",
        },
    }
    trains = True

    def check(self, config: dict[str, Any], options: Options, flags: Sequence[str]) -> None:
        """Check the flags as those of a student of the experiment's model."""
        from project.stages.distill import check_student

        check_student(config, _student_flags(options, flags))

    def run(self, pipeline: Pipeline, result: StageResult, options: Options, flags: list[str]) -> None:
        """Train the student in the stage's folder; unless the flags name a net, it has a quarter of the units."""
        from project.stages.distill import student_config
        from project.stages.narrow import smaller_net
        from project.training.train import train

        teacher = pipeline.newest("train", "ensemble", "distill", "prune")
        result.source, path = teacher.name, pipeline.path(teacher)
        args = _student_flags(options, flags)
        if not any(flag.split("=")[0] == "--model.net" for flag in flags):
            args = ["--model.net", json.dumps(smaller_net(str(path))), *args]
        result.command = self.command(path, *args, *pipeline.trust)
        args += pipeline.trust
        fit(pipeline, result, lambda run: train(pipeline.trust, folder=run, config=student_config(str(path), args)))


def _student_flags(options: Options, flags: Sequence[str]) -> list[str]:
    """The student's flags of scripts/train.py."""
    unlabelled = options.get("unlabelled")
    return [*(["--sampling.unlabelled_path", unlabelled] if unlabelled else []), *flags]
