"""Distillation: a run teaches another net, which becomes a run of its own."""

import json
from collections.abc import Sequence

import yaml

from project.config.flag_errors import refuse_flags
from project.inference.evaluate import evaluate
from project.runs.checkpoint import without_teacher
from project.runs.folder import find_checkpoint
from project.runtime.errors import UserError
from project.stages.base import NO_RESUME, Config, parse, stage_config, train_as, trust_flags
from project.training.cli import ExperimentCLI

DISTILLED = {
    "project.models.Classification": "project.models.DistilledClassification",
    "project.models.Regression": "project.models.DistilledRegression",
}
NO_TEACHER = NO_RESUME | {"model.teacher": "the teacher is the run that was given: leave it out"}


def student_config(reference: str, args: Sequence[str] = ()) -> Config:
    """The settings of a net that learns from a run: the teacher's own, with what the args say in their place.

    Args:
        reference: The teacher: a run folder, a checkpoint, or `last`.
        args: Flags of scripts/train.py, such as `--model.net MLP`.
    """
    refuse_flags(args, NO_TEACHER)
    config = stage_config(reference)
    model = config["model"]
    model["class_path"] = DISTILLED.get(model["class_path"], model["class_path"])
    model["init_args"]["teacher"] = str(find_checkpoint(reference).resolve())
    parsed = parse(["--config", yaml.safe_dump(config), *args])
    require_teacher(parsed)
    return parsed


def require_teacher(config: Config) -> None:
    """Raise a UserError unless a student's settings are of one that learns from a teacher."""
    if "teacher" not in config["model"]["init_args"]:
        name = config["model"]["class_path"].rpartition(".")[2]
        raise UserError(f"--model {name} learns from no teacher: leave it out, and name the net with --model.net")


def distill(reference: str, baseline: bool = False, args: Sequence[str] = ()) -> dict[str, dict[str, float]]:
    """Have a run teach a net.

    Args:
        reference: The teacher: a run folder, a checkpoint, or `last`.
        baseline: Whether to train the same net on the labels alone, too, as a run before it.
        args: Flags of scripts/train.py that differ from the teacher's own: those of the student.

    Returns:
        Test metrics on the student's test rows, by who was tested: `teacher`, `student`, and `labels alone`.
    """
    reference = str(find_checkpoint(reference))  # `last` would be another one once there is a student
    config = student_config(reference, args)
    trust, metrics = trust_flags(), {}
    if baseline:
        student = ExperimentCLI(["--config", yaml.safe_dump(config), *trust, "--trainer.fast_dev_run=1"])
        _ = student.datamodule.splits  # what is wrong with the student is told before
        alone = config | {"model": without_teacher(config["model"])}
        alone["sampling"] = config["sampling"] | {"unlabelled": False, "unlabelled_path": None}
        metrics["labels alone"] = train_as(alone, trust)
    metrics["student"] = train_as(config, trust)
    rows = [arg for name in ("data", "sampling") for arg in (f"--{name}", json.dumps(config[name]))]
    metrics["teacher"], _ = evaluate(reference, [*rows, *trust])
    return metrics
