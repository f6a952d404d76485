"""Distillation: train a new network on the labels and on the outputs of a run, its teacher."""

import json
from collections.abc import Sequence

from project.config.flag_errors import refuse_flags
from project.inference.evaluate import evaluate
from project.runs.checkpoint import without_teacher
from project.runs.folder import find_checkpoint
from project.runtime.errors import UserError
from project.stages.base import NO_NAME, NO_RESUME, SOLVER, Config, parse, stage_config, trust_flags
from project.training.cli import ExperimentCLI
from project.training.train import train

DISTILLED = {
    "project.models.Classification": "project.models.DistilledClassification",
    "project.models.LanguageModel": "project.models.DistilledLanguageModel",
    "project.models.Regression": "project.models.DistilledRegression",
}
NO_TEACHER = NO_RESUME | NO_NAME | {"model.teacher": "the teacher is the run that you pass; remove it"}


def student_config(reference: str, args: Sequence[str] = ()) -> Config:
    """Return the settings of a student: those of its teacher, overridden by flags."""
    return check_student(stage_config(reference), args, str(find_checkpoint(reference).resolve()))


def check_student(config: Config, args: Sequence[str], teacher: str = "") -> Config:
    """Return the settings of a student of a model with the given settings; `teacher` is empty before it is trained.

    Raises:
        UserError: If a flag is not supported, or the flags choose a model that cannot learn from a teacher.
    """
    refuse_flags(args, NO_TEACHER)
    model = config["model"]
    arguments, path = model["init_args"], DISTILLED.get(model["class_path"], model["class_path"])
    if path == SOLVER:  # the student is trained like a linear net
        arguments, path = {}, DISTILLED["project.models.Regression"]
    if not path.startswith("project.models.Distilled"):
        name, known = path.rpartition(".")[2], ", ".join(kind.rpartition(".")[2] for kind in DISTILLED)
        raise UserError(f"--model: {name} cannot learn from a teacher; choose one of {known}")
    model = {"class_path": path, "init_args": arguments | {"teacher": teacher}}
    parsed = parse(args, config | {"model": model})
    if "teacher" not in parsed["model"]["init_args"]:
        name = parsed["model"]["class_path"].rpartition(".")[2]
        raise UserError(f"--model {name}: cannot learn from a teacher; remove it, and choose the net with --model.net")
    return parsed


def distill(reference: str, baseline: bool = False, args: Sequence[str] = ()) -> dict[str, dict[str, float]]:
    """Train a student of a run.

    Args:
        reference: The teacher: a run folder, a checkpoint, or `last`.
        baseline: Whether to train the same net on the labels alone first, as another run.
        args: Flags of scripts/train.py for the student, which override the settings of the teacher.

    Returns:
        Metrics on the student's test rows, by model: `teacher`, `student`, and `labels alone`.
    """
    reference = str(find_checkpoint(reference))  # `last` will be the student
    config = student_config(reference, args)
    trust, metrics = trust_flags(), {}
    if baseline:
        student = ExperimentCLI([*trust, "--trainer.fast_dev_run=1"], config=config)
        _ = student.datamodule.splits  # finds mistakes in the student's settings before the baseline is trained
        alone = config | {"model": without_teacher(config["model"])}
        alone["sampling"] = config["sampling"] | {"unlabelled": False, "unlabelled_path": None}
        metrics["labels alone"] = train(trust, config=alone)
    metrics["student"] = train(trust, config=config)
    rows = [arg for name in ("data", "sampling") for arg in (f"--{name}", json.dumps(config[name]))]
    metrics["teacher"], _ = evaluate(reference, [*rows, *trust])
    return metrics
